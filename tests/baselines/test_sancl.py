"""SANCL: profiles as token arrays, attention and contrasts by hand, the contract on the tiny shop, new users."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines import tastes
from tests.baselines.contract import examples_for, fitted, holds, resumes, said
from tests.fakes import encoders as let_be_encoders
from tests.shop import home_at
from unimp_baselines import sancl, sancl_net, sancl_profiles
from unimp_baselines.sancl import SANCL
from unimp_baselines.search_common import Names
from unimp_baselines.t5 import pictures
from unimp_bench import curves, descriptor
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.features import registry as encoders
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.fitting import task_data
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context
from unimp_bench.schemas import EXAMPLES, INTERACTIONS, ITEMS, conform

SMALL: dict[str, Any] = {
    "width": 8, "layers": 1, "heads": 2, "epochs": 3, "batch": 16, "min_count": 1, "pictures": "mine",
    "item_words": 8, "profile_words": 24, "history": 4,
}  # fmt: skip


class Described:
    """The built-in descriptor as an encoder."""

    modality: ClassVar[Modality] = "image"
    version: ClassVar[str] = "1"

    def identity(self) -> str:
        return self.version

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        ids, rows = pictures.described(view)
        values = np.zeros((view.items.height, descriptor.WIDTH), dtype=np.float32)
        values[[view.index[item] for item in ids]] = rows
        return values, view.items["image_id"].is_not_null().to_numpy()


MINE = [EntryPoint("mine", "tests.baselines.test_sancl:Described", encoders.GROUP)]


@pytest.fixture(autouse=True)
def own_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that need no package."""
    let_be_encoders(monkeypatch, MINE)


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    return Dataset.open(home_at(tmp_path / "home"), "shop")


WORDS = pl.Series(["ball", "good", "red"])  # tokens 7, 8, 9
BALL, GOOD, RED = 7, 8, 9


def _shelf() -> sancl_profiles.Shelf:
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "item_index": [0, 1, 2],
            "title": ["A red ball", None, "Ball, ball"],
            "brand": ["Good", None, None],
        }
    )
    view = Catalogue(conform(items, ITEMS.columns), frozenset(), ())
    return sancl_profiles.Shelf.of(view, WORDS, np.array([[1, 2], [0, 0], [3, 4]], dtype=np.float32))


def _rows() -> pl.DataFrame:
    rows = [
        {"user_id": "u", "position": 0, "item_id": "a", "rating": 5.0, "explanation": "so good"},
        {"user_id": "u", "position": 1, "item_id": "b", "rating": None, "explanation": "Red!"},
        {"user_id": "u", "position": 2, "item_id": "c", "rating": 1.0, "explanation": None},
        {"user_id": "v", "position": 0, "item_id": "c", "rating": 2.5, "explanation": None},
    ]
    return conform(pl.DataFrame(rows), INTERACTIONS.columns)


def test_a_row_is_shown_what_its_user_did_before() -> None:
    shelf, padding = _shelf(), 0
    batch = sancl_profiles.Profiles.before(_rows(), shelf, WORDS).batch(np.arange(4), shelf, (4, 6, 2), "cpu")
    assert batch.left.tolist() == [
        [padding, RED, BALL, GOOD],
        [padding] * 4,
        [padding, padding, BALL, BALL],
        [padding, padding, BALL, BALL],
    ]
    first = [6, RED, BALL, GOOD]  # five stars, the title's words, what was said
    assert batch.right.tolist() == [[0] * 6, [0, 0, *first], [*first, 1, RED], [0] * 6]
    assert batch.stars.tolist() == [[0, 0], [0, 6], [6, 1], [0, 0]]
    assert batch.right_pictures[2].tolist() == [[1, 2], [0, 0]]
    assert batch.left_picture.tolist() == [[1, 2], [0, 0], [3, 4], [3, 4]]
    assert batch.items.tolist() == [0, 1, 2, 2]
    assert batch.users[:3].unique().tolist() != batch.users[3:].unique().tolist()


def test_an_example_is_shown_its_history_and_long_ones_lose_their_beginning() -> None:
    shelf = _shelf()
    entry = [{"item_id": item, "rating": stars, "explanation": None} for item, stars in (("a", 5), ("c", 3), ("x", 4))]
    asked = conform(
        pl.DataFrame(
            [
                {"user_id": "u", "history": entry, "target_item_id": "a"},
                {"user_id": "w", "history": [], "target_item_id": "gone"},
                {"user_id": "v", "history": entry[:1], "target_item_id": "c"},
            ]
        ),
        EXAMPLES.columns,
    )
    profiles = sancl_profiles.Profiles.shown(asked, shelf, WORDS)
    batch = profiles.batch(np.arange(3), shelf, (4, 5, 2), "cpu")
    assert batch.right.tolist() == [[BALL, 4, BALL, BALL, 5], [0] * 5, [0, 0, 6, RED, BALL]]
    assert batch.stars.tolist() == [[4, 5], [0, 0], [0, 6]]
    assert batch.right_pictures[0].tolist() == [[3, 4], [0, 0]]  # the shop has no item x
    assert batch.items.tolist() == [0, -1, 2]
    assert not batch.left[1].any() and not batch.left_picture[1].any()


def test_a_word_of_an_item_counts_once_a_row_of_it() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["Rare 814", "Never bought"]})
    rows = pl.DataFrame({"item_id": ["a", "a", "a"], "explanation": ["nice thing", None, "nice"]})
    words = partial(sancl_profiles.vocabulary, conform(items, ITEMS.columns), rows)
    assert words(3).to_list() == ["814", "rare"]
    assert words(2).to_list() == ["814", "nice", "rare"]
    assert words(1).to_list() == ["814", "nice", "rare", "thing"]


def test_the_probe_mask() -> None:
    left = torch.tensor([[0, 7, 8], [0, 0, 0]])
    right = torch.tensor([[0, 6, 8, 9], [0, 0, 3, 7]])
    assert sancl_net.probe(left, right).tolist() == [[0, 0.5, 1, 0.5], [0, 0, 0.5, 0.5]]
    stars = torch.tensor([[6, 6]])
    assert sancl_net.probe(stars, stars).tolist() == [[0.5, 0.5]]  # ratings are no words to match


def test_softmax_over_nothing_is_nothing() -> None:
    real = torch.tensor([[True, False], [False, False]])
    assert sancl_net.masked_softmax(torch.tensor([[3.0, 9.0], [1.0, 2.0]]), real, 1).tolist() == [[1, 0], [0, 0]]


def test_product_aware_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = sancl_net.ProductAware(3)
    right, left = torch.randn(1, 2, 3), torch.randn(1, 4, 3)
    real = torch.tensor([[True, True, True, False]])
    found = layer(right, left, real)[0]
    for k in range(2):
        scores = torch.stack([torch.relu(layer.map(left[0, p])) @ right[0, k] for p in range(3)])
        expected = right[0, k] + sum(scores.softmax(0)[p] * left[0, p] for p in range(3))
        assert torch.allclose(found[k], expected, atol=1e-6)


def _network() -> sancl_net.SANCL:
    torch.manual_seed(0)
    return sancl_net.SANCL(sancl_net.Shape(3, 2, 8, 1, 2, 0.1)).eval()


def test_selective_attention_by_hand() -> None:
    network = _network()
    states, weights = torch.randn(1, 3, 8), torch.tensor([[0.0, 0.5, 1.0]])
    found = network._selected(states, weights)[0]
    scores = network.query(states[0]) @ network.key(states[0]).T / 8**0.5
    for k in (1, 2):
        shares = scores[k, 1:].softmax(0) * weights[0, k] * weights[0, 1:]
        assert torch.allclose(found[k], states[0, k] + shares @ states[0, 1:], atol=1e-6)
    assert torch.equal(found[0], states[0, 0])


def test_a_contrast_leaves_out_what_is_no_negative() -> None:
    a, b = torch.eye(3)[[0, 1, 0]], torch.eye(3)[[0, 1, 0]]
    same = torch.tensor([[True, False, True], [False, True, False], [True, False, True]])
    one = -np.log(np.exp(10) / (np.exp(10) + 1))  # against row 1 alone
    two = -np.log(np.exp(10) / (np.exp(10) + 2))
    found = sancl_net.contrast(a, b, torch.tensor([1.0, 1.0, 0.0]), same)
    assert float(found) == pytest.approx((one + two) / 2, abs=1e-6)
    assert float(sancl_net.contrast(a, b, torch.zeros(3), same)) == 0


def test_the_loss_is_the_squared_error_and_the_contrasts() -> None:
    network, shelf = _network(), _shelf()
    batch = sancl_profiles.Profiles.before(_rows(), shelf, WORDS).batch(np.arange(4), shelf, (4, 6, 2), "cpu")
    ratings = torch.tensor([5.0, 1.0, 4.0, 2.0])
    network.requires_grad_(False)
    plain = network.loss(batch, ratings, 4.0, 0.0)
    assert float(plain) == pytest.approx(float(((network.ratings(batch) - ratings) ** 2).mean()), abs=1e-6)
    views = network.views(batch)
    positive, eye = torch.tensor([1.0, 0, 1, 0]), torch.eye(4, dtype=torch.bool)
    items = eye | torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=torch.bool)
    users = torch.tensor([[True] * 3 + [False]] * 3 + [[False] * 3 + [True]])
    terms = [
        sancl_net.contrast(views.left_text_cm, views.left_picture_cm, positive, items),
        sancl_net.contrast(views.right_text_cm, views.right_picture_cm, positive, users),
        sancl_net.contrast(views.right_text_rp, views.left_text_rp, positive, items | users),
        sancl_net.contrast(views.right_picture_rp, views.left_picture_rp, positive, items | users),
    ]
    whole = network.loss(batch, ratings, 4.0, 0.5)
    assert float(whole - plain) == pytest.approx(0.5 * float(sum(terms)) / 4, abs=1e-5)
    assert float(sum(terms)) > 0


def test_padding_and_entries_before_the_window_change_nothing() -> None:
    network, shelf = _network(), _shelf()
    profiles = sancl_profiles.Profiles.before(_rows(), shelf, WORDS)
    narrow, wide = (
        network.ratings(profiles.batch(np.arange(4), shelf, sizes, "cpu")) for sizes in ((4, 8, 3), (9, 20, 7))
    )
    assert torch.allclose(narrow, wide, atol=1e-5)
    # A picture counts, and so does the rating that it got.
    batch = profiles.batch(np.array([2]), shelf, (4, 8, 3), "cpu")
    for change in ({"right_pictures": batch.right_pictures + 1}, {"stars": batch.stars.clamp(max=2)}):
        assert not torch.allclose(network.ratings(replace(batch, **change)), network.ratings(batch), atol=1e-6)


@pytest.mark.parametrize("adapt", [False, True])
def test_the_contract(shop: Dataset, tmp_path: Path, adapt: bool) -> None:
    holds(shop, tmp_path / "runs", partial(SANCL, **SMALL), adapt=adapt)
    curve = curves.read(tmp_path / "runs/a/fit.jsonl")
    assert set(curve["name"].to_list()) == {"loss", "valid_squared_error"}


def test_a_killed_fit_ends_as_an_undisturbed_one(shop: Dataset, tmp_path: Path) -> None:
    resumes(shop, tmp_path / "runs", partial(SANCL, **{**SMALL, "epochs": 4}))


def test_an_adapted_copy_keeps_what_its_words_mean() -> None:
    nothing = pl.Series([], dtype=pl.String)
    new, old = (Names(nothing, nothing, pl.Series(words)) for words in (["b", "c", "z"], ["a", "b", "z"]))
    here, there = sancl._shared(new, old)
    assert here.tolist() == [*range(7), 7, 9]  # ratings keep their places; "c" starts anew
    assert there.tolist() == [*range(7), 8, 9]


def test_another_picture_gives_another_rating(shop: Dataset, tmp_path: Path) -> None:
    """Pictures are those of the view that is asked, not of the one that was learned from."""
    runner = fitted(shop, tmp_path / "a", partial(SANCL, **SMALL))
    asked = examples_for(shop, runner, "preference")
    before = said(shop, runner, "preference", asked)["rating"]
    view = shop.catalogue()
    bare = replace(view, items=view.items.with_columns(pl.lit(None, pl.String).alias("image_id")))
    after = pl.concat(runner.predict("preference", asked, bare, Context(0, tmp_path)))["rating"]
    assert before.to_list() != after.to_list()


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[SANCL, Any]:
    """SANCL after the made shop, and that shop's catalogue."""
    folder = tmp_path_factory.mktemp("taught")
    data = tastes.data_at(folder)
    runner = SANCL(
        **{**SMALL, "width": 16, "lr": 3e-3, "epochs": 25, "patience": 25, "profile_words": 64, "history": 7}
    )

    with pytest.MonkeyPatch.context() as patched:
        let_be_encoders(patched, MINE)
        (folder / "scratch").mkdir()
        runner.fit(data, Context(0, folder / "scratch"))
    return runner, data["preference"].catalogue


@pytest.mark.slow
def test_it_rates_unknown_items_for_unknown_users(taught: tuple[SANCL, Any], tmp_path: Path) -> None:
    """Users' moods stand in their profiles alone, items' quality in their titles alone."""
    runner, view = taught
    users = [f"u{k}" for k in range(40, 80)]  # nobody knows them
    asked = tastes.questions(users)
    due = np.array([tastes.rating(user, item) for user, item in asked.select("user_id", "target_item_id").iter_rows()])
    stars = pl.concat(runner.predict("preference", asked, view, Context(0, tmp_path)))["rating"].to_numpy()
    assert ((stars - due) ** 2).mean() < 0.3  # the mean of all errs by 2, a user's mean by 1


def test_what_is_missing_is_one_line(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = task_data(shop, "preference", new_domains=False)
    unrated = given.interactions.with_columns(pl.lit(None, dtype=pl.Float32).alias("rating"))
    with pytest.raises(ConfigError, match="no train row of in_domain has a rating"):
        SANCL(**SMALL).fit({"preference": replace(given, interactions=unrated)}, Context(0, tmp_path))
    monkeypatch.undo()
    bare = replace(given.catalogue, items=given.catalogue.items.with_columns(pl.lit(None, pl.String).alias("image_id")))
    unseen = {"preference": replace(given, catalogue=replace(bare, origin=None))}
    with pytest.raises(ConfigError, match="reads pictures and no item") as caught:
        SANCL(**{**SMALL, "pictures": "thumbnail"}).fit(unseen, Context(0, tmp_path))
    assert "\n" not in str(caught.value)


def test_another_encoder_than_was_learned_with_is_refused(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = fitted(shop, tmp_path / "a", partial(SANCL, **{**SMALL, "epochs": 1}))
    monkeypatch.setattr(Described, "version", "2")
    told = r"^encoder 'mine' is no longer what it was at this fit; fit again [^\n]*$"
    with pytest.raises(ConfigError, match=told):
        said(shop, runner, "preference", examples_for(shop, runner, "preference"))
    with pytest.raises(ConfigError, match=told):
        runner.adapt({"preference": task_data(shop, "preference", new_domains=True)}, Context(0, tmp_path))


def test_changed_files_are_not_taken_up(shop: Dataset, tmp_path: Path) -> None:
    fitted(shop, tmp_path / "a", partial(SANCL, **{**SMALL, "epochs": 1}))
    with (tmp_path / "a/fit-state/weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"weights.safetensors is missing or was changed"):
        SANCL(**SMALL).load(tmp_path / "a/fit-state")


def test_a_loss_that_is_not_finite_stops_the_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sancl_net.SANCL, "loss", lambda self, *given: self.last.bias.sum() * float("nan"))
    with pytest.raises(ConfigError, match="sancl: the loss is nan in epoch 1"):
        fitted(shop, tmp_path / "a", partial(SANCL, **SMALL))


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"width": 10, "heads": 4}, {"lr": 0.0}, {"dropout": 1.0}, {"alpha": -0.1}, {"batch": 1}]
)
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sancl"):
        SANCL(**wrong)


def test_the_command_line_can_set_every_field() -> None:
    made = registry.create("sancl", SANCL, {"pictures": "clip:/models/clip", "width": "128", "alpha": "0"})
    assert (made.pictures, made.width, made.alpha) == ("clip:/models/clip", 128, 0.0)
    with pytest.raises(ConfigError, match="did you mean alpha"):
        registry.create("sancl", SANCL, {"alfa": "3"})
