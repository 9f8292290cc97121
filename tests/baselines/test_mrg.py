"""MRG: words, pictures, the network by hand, what a picture tells, the contract on the tiny shop."""

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
from PIL import Image

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines import tastes
from tests.baselines.contract import examples_for, fitted, holds, resumes, said
from tests.fakes import encoders
from tests.shop import home_at
from unimp_baselines import mrg_net, mrg_pictures, mrg_words
from unimp_baselines.mrg import MRG
from unimp_baselines.recbole.feed import Lists
from unimp_bench import curves
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.features.registry import GROUP
from unimp_bench.fitting import task_data
from unimp_bench.progress import Silent
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context

SMALL: dict[str, Any] = {"factors": 4, "words": 6, "state": 5, "sentence": 8, "epochs": 3, "batch": 16}


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    return Dataset.open(home_at(tmp_path / "home"), "shop")


def test_words_joined_are_the_text() -> None:
    texts = ["It's  good,\nreally good - 5/5!", "\u4ef7\u683c\u5f88\u597d\u3002", "", None, "(so-so)"]
    words = mrg_words.spelled(pl.Series(texts)).to_list()
    assert words[0] == ["It's", " good", ",", " really", " good", " -", " 5", "/", "5", "!"]
    plain = [" ".join((text or "").split()) for text in texts]
    assert ["".join(found) for found in words] == plain


def test_rare_words_are_read_as_unknown() -> None:
    words = mrg_words.vocabulary(pl.Series(["so good", "so bad", None, "bad, so"]), 2)
    assert words.to_list() == ["so"]
    lists = mrg_words.word_lists(pl.Series(["so good so", None, "so"]), words)
    assert lists.values.tolist() == [1, 0, 0, 1]  # " so" is another word than "so"
    assert lists.starts.tolist() == [0, 3, 3, 4]


def test_lessons_by_hand() -> None:
    out, end = mrg_words.LEFT_OUT, mrg_words.END
    texts = Lists(np.array([1, 0, 2, 3, 4, 5, 6]), np.array([0, 3, 3, 7]))
    read, written = mrg_words.lessons(texts, np.array([2, 0, 1]), 3, 9)
    assert read.tolist() == [[9, 3, 4, 5], [9, 1, 0, 2], [9, 0, 0, 0]]
    # The first is cut, so its end is not learned; the second has an unknown word; the third is empty.
    assert written.tolist() == [[3, 4, 5, out], [1, out, 2, end], [end, out, out, out]]
    short = mrg_words.lessons(texts, np.array([1]), 3, 9)
    assert [part.tolist() for part in short] == [[[9]], [[end]]]


def test_texts_end_where_the_end_was_said() -> None:
    rows = [[1, 2, 0, 0], [2, 3, 3, 3], [0, 1, 0, 0]]
    assert mrg_words.texts_of(rows, ["So", " good", "."]) == ["So good", "good...", None]


def _network(picture: int = 3) -> mrg_net.MRG:
    torch.manual_seed(1)
    network = mrg_net.MRG(mrg_net.Shape(3, 2, 4, 2, 3, 5, 0.2, picture)).eval()
    network.mean.fill_(3.5)
    with torch.no_grad():
        for norm in (network.sentiment_norm, network.region_norm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return network


def _batch(picture: torch.Tensor | None = None) -> mrg_net.Batch:
    shown = torch.tensor([[0.5, -1.0, 2.0], [9.0, 9.0, 9.0]]) if picture is None else picture
    return mrg_net.Batch(torch.tensor([2, 0]), torch.tensor([1, 2]), shown, torch.tensor([True, False]))


class Fixed(torch.nn.Module):
    """Sees the same whatever is shown."""

    def __init__(self, regions: torch.Tensor) -> None:
        super().__init__()
        self.regions = regions

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.regions


def test_two_steps_by_the_formulas() -> None:
    """Against the equations written out in numpy, two regions seen and none."""
    network = _network()
    p = {name: value.detach().double().numpy() for name, value in network.state_dict().items()}
    cells = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    network.look = Fixed(cells)
    batch = _batch()
    read = torch.tensor([[5, 2], [5, 0]])
    logits, stars = network.logits(batch, read).detach().numpy(), network.ratings(batch).detach().numpy()

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def line(name: str, x: Any) -> Any:
        return p[f"{name}.weight"] @ x + p.get(f"{name}.bias", 0)

    def norm(name: str, x: Any) -> Any:
        unit = (x - p[f"{name}.running_mean"]) / np.sqrt(p[f"{name}.running_var"] + 1e-5)
        return unit * p[f"{name}.weight"] + p[f"{name}.bias"]

    for row, (user, item, there) in enumerate(((2, 1, 1), (0, 2, 0))):
        pair = np.concatenate([p["users.weight"][user], p["items.weight"][item]])
        z = np.tanh(line("feature", pair))
        assert stars[row] == pytest.approx(3.5 + line("rate", z)[0], abs=1e-5)
        regions = [there * norm("region_norm", cell) for cell in cells[row].double().numpy()]
        h, c = np.tanh(line("first_state", pair)), np.tanh(line("first_cell", pair))
        for step, word in enumerate(read[row].tolist()):
            x = p["words.weight"][word]
            energy = [line("weigh", np.tanh(p["key.weight"] @ region + line("ask", h)))[0] for region in regions]
            alpha = np.exp(energy) / np.exp(energy).sum()
            seen = sum(a * region for a, region in zip(alpha, regions, strict=True))
            beta = sigmoid(line("gate", np.concatenate([x, h])))
            fused = beta * norm("sentiment_norm", z) + (1 - beta) * seen
            gates = p["cell.weight_ih"] @ np.concatenate([x, fused]) + p["cell.bias_ih"]
            gates = gates + p["cell.weight_hh"] @ h + p["cell.bias_hh"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            hidden = np.tanh(line("hidden", np.concatenate([h, fused])) + x)
            assert np.allclose(logits[row, step], line("out", hidden), atol=1e-5)


@pytest.mark.parametrize("present", [[True, False, True], [False, True, False], [False, False, False]])
def test_items_without_a_picture_are_of_no_account_to_the_statistics(present: list[bool]) -> None:
    there, regions = torch.tensor(present), torch.randn(3, 2, 4)
    networks = [_network().train() for _ in "ab"]
    before = networks[0].region_norm.running_mean.clone()
    found = networks[0]._normal(regions, there)
    other = networks[1]._normal(torch.where(there[:, None, None], regions, 99.0), there)
    assert torch.equal(found, other)
    assert not found[~there].any()
    assert networks[0].region_norm.running_mean.isfinite().all()
    assert torch.equal(networks[0].region_norm.running_mean, before) == (not any(present))
    if any(present):
        rows = regions[there].flatten(0, 1)
        unit = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
        assert torch.allclose(found[there].flatten(0, 1), unit, atol=1e-5)


def test_a_single_region_is_normalised_by_what_was_seen_before() -> None:
    network, there = _network().train(), torch.tensor([True, False])
    regions = torch.randn(2, 1, 4)
    found = network._normal(regions, there)
    assert torch.equal(found, network.eval()._normal(regions, there))


def test_sentences_are_greedy_and_never_empty() -> None:
    network, batch = _network(), _batch()
    with torch.no_grad():
        network.out.bias[mrg_words.END] += 100
    assert (network.sentences(batch, 4) > 0).tolist() == [[True, False, False, False]] * 2
    with torch.no_grad():
        network.out.bias[mrg_words.END] -= 200
    found = network.sentences(batch, 4)
    assert (found > 0).all()
    logits = network.logits(batch, torch.cat([torch.full((2, 1), network.start), found[:, :-1]], dim=1))
    assert torch.equal(logits.argmax(2), found)


def test_regions_see_their_own_pixels_only() -> None:
    look = mrg_net.Thumbnail(6)
    pixels = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    before = look(pixels)
    assert before.shape == (1, mrg_net.CELLS, 6)
    pixels[0, :, 16:32, 48:] = 10  # second row of regions, last column
    assert ((look(pixels) != before).any(2)[0].nonzero().flatten().tolist()) == [7]


def test_thumbnails_by_item_and_shuffled(shop: Dataset) -> None:
    view = shop.catalogue()
    own = mrg_pictures.thumbnails(view, Silent(), None)
    assert own.values.shape == (19, 3, 64, 64)
    blank = view.index["i03"]
    assert np.flatnonzero(own.rows < 0).tolist() == [blank]
    places = np.array([view.index["i05"], blank, -1])
    shown, there = own.of(places)
    assert there.tolist() == [True, False, False]
    assert np.allclose(shown[0].reshape(3, -1).mean(1), (60, 195, 90), atol=4)
    other = mrg_pictures.thumbnails(view, Silent(), 0)
    kept = own.rows >= 0
    assert (other.rows[kept] != own.rows[kept]).all()
    assert sorted(other.rows) == sorted(own.rows)
    assert not np.array_equal(other.rows, mrg_pictures.thumbnails(view, Silent(), 1).rows)


def test_a_wide_picture_stands_in_white() -> None:
    (found,) = mrg_pictures.scaled([Image.new("RGB", (40, 10))])
    assert (found[:, :20] == 255).all() and (found[:, 30:34] == 0).all()


def test_the_contract(shop: Dataset, tmp_path: Path) -> None:
    holds(shop, tmp_path / "runs", partial(MRG, **SMALL))
    curve = curves.read(tmp_path / "runs/a/fit.jsonl")
    assert set(curve["name"].to_list()) == {"loss", "valid_squared_error", "valid_word_loss"}


def test_only_known_words_are_written(shop: Dataset, tmp_path: Path) -> None:
    runner = fitted(shop, tmp_path / "a", partial(MRG, **{**SMALL, "min_count": 12}))
    known = set(runner._learned.names.words.to_list())
    every = mrg_words.vocabulary(
        task_data(shop, "explanation", new_domains=False).interactions.collect()["explanation"], 1
    )
    assert known and known < set(every.to_list())
    texts = said(shop, runner, "explanation", examples_for(shop, runner, "explanation"))["text"]
    for words in mrg_words.spelled(texts).to_list():
        assert {words[0], f" {words[0]}"} & known
        assert set(words[1:]) <= known


def test_a_killed_fit_ends_as_an_undisturbed_one(shop: Dataset, tmp_path: Path) -> None:
    resumes(shop, tmp_path / "runs", partial(MRG, **{**SMALL, "epochs": 4}))


class Counted:
    """An encoder whose numbers go on from item to item."""

    modality: ClassVar[Modality] = "image"
    version: ClassVar[str] = "1"

    def identity(self) -> str:
        return self.version

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        values = np.arange(view.items.height * 5, dtype=np.float32).reshape(-1, 5)
        return values, view.items["image_id"].is_not_null().to_numpy()


def test_features_of_an_encoder_are_one_region(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders(monkeypatch, [EntryPoint("mine", "tests.baselines.test_mrg:Counted", GROUP)])
    runner = fitted(shop, tmp_path / "a", partial(MRG, **SMALL, pictures="mine"))
    assert runner._learned.network.look.map.in_features == 5
    answered = said(shop, runner, "explanation", examples_for(shop, runner, "explanation"))
    assert answered["text"].null_count() == 0
    monkeypatch.setattr(Counted, "version", "2")
    again = MRG(**SMALL, pictures="mine")
    again.load(tmp_path / "a/fit-state")
    with pytest.raises(ConfigError, match=r"^encoder 'mine' is no longer what it was at this fit; fit again [^\n]*$"):
        said(shop, again, "explanation", examples_for(shop, again, "explanation"))


def _learned(folder: Path, pictures: str = "grid") -> tuple[MRG, Any]:
    data = tastes.data_at(folder)
    runner = MRG(
        factors=8, words=16, state=16, sentence=8, lr=0.01, batch=16, epochs=25, patience=25, pictures=pictures
    )
    (folder / "scratch").mkdir()
    runner.fit(data, Context(0, folder / "scratch"))
    return runner, data["explanation"].catalogue


def _named(runner: MRG, view: Any, folder: Path) -> float:
    """Share of sentences about items that nobody bought that name the colour of their picture."""
    asked = tastes.questions()
    texts = pl.concat(runner.predict("explanation", asked, view, Context(0, folder)))["text"].to_list()
    return float(np.mean([tastes.colour(i) in t for i, t in zip(asked["target_item_id"], texts, strict=True)]))


@pytest.mark.slow
def test_it_learns_ratings_and_says_what_a_picture_shows(tmp_path: Path) -> None:
    runner, view = _learned(tmp_path)
    asked = tastes.data_at(tmp_path)["preference"].valid.collect()
    stars = pl.concat(runner.predict("preference", asked, view, Context(0, tmp_path)))["rating"]
    assert float(((stars - asked["rating"]) ** 2).mean()) < 0.5  # the mean of all errs by about 2
    assert _named(runner, view, tmp_path) > 0.9


@pytest.mark.slow
def test_shuffled_pictures_tell_nothing(tmp_path: Path) -> None:
    runner, view = _learned(tmp_path, "grid@shuffled")
    assert _named(runner, view, tmp_path) < 0.7


def test_what_is_missing_is_one_line(shop: Dataset, tmp_path: Path) -> None:
    given = task_data(shop, "explanation", new_domains=False)
    silent = replace(
        given, interactions=given.interactions.with_columns(pl.lit(None, dtype=pl.String).alias("explanation"))
    )
    with pytest.raises(ConfigError, match="no train row has an entry in explanation") as caught:
        MRG(**SMALL).fit({"explanation": silent}, Context(0, tmp_path))
    assert "\n" not in str(caught.value)
    bare = replace(given.catalogue, items=given.catalogue.items.with_columns(pl.lit(None, pl.String).alias("image_id")))
    with pytest.raises(ConfigError, match="no pictures"):
        MRG(**SMALL).fit({"explanation": replace(given, catalogue=bare)}, Context(0, tmp_path))


def test_changed_files_are_not_taken_up(shop: Dataset, tmp_path: Path) -> None:
    fitted(shop, tmp_path / "a", partial(MRG, **{**SMALL, "epochs": 1}))
    with (tmp_path / "a/fit-state/names.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"names.parquet is missing or was changed"):
        MRG(**SMALL).load(tmp_path / "a/fit-state")


def test_a_loss_that_is_not_finite_stops_the_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mrg_net.MRG, "rating_loss", lambda self, *given: self.rate.bias.sum() * float("nan"))
    with pytest.raises(ConfigError, match="mrg: the loss is nan in epoch 1"):
        fitted(shop, tmp_path / "a", partial(MRG, **SMALL))


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"lr": 0.0}, {"dropout": 1.0}, {"l2": -1.0}, {"batch": 1}, {"sentence": 0}]
)
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="mrg"):
        MRG(**wrong)


def test_the_command_line_can_set_every_field() -> None:
    made = registry.create("mrg", MRG, {"pictures": "grid@shuffled", "factors": "256", "lr": "3e-4"})
    assert registry.resolved(made) | {"factors": 256, "pictures": "grid@shuffled", "lr": 3e-4} == registry.resolved(
        made
    )
    with pytest.raises(ConfigError, match="did you mean factors"):
        registry.create("mrg", MRG, {"factor": "3"})
