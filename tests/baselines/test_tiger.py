"""TIGER: codebooks, names of items, masks, beams against exhaustive scoring, and its contract on the tiny shop."""

from __future__ import annotations

import itertools
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

from tests.baselines.contract import examples_for, fitted, holds, said
from tests.fakes import encoders
from tests.shop import home_at
from unimp_baselines import learning, tiger_decoding, tiger_quantiser, tiger_selecting, tiger_training
from unimp_baselines.recbole import choosing
from unimp_baselines.t5.decoding import Tree
from unimp_baselines.tiger import TIGER
from unimp_baselines.tiger_decoding import Asked
from unimp_baselines.tiger_learned import tokens
from unimp_baselines.tiger_naming import codebook_size, distinct
from unimp_baselines.tiger_net import Shape, Tiger
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.features import item_features
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.features.registry import GROUP
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context

SMALL: dict[str, Any] = {
    "width": 16,
    "inner": 32,
    "layers": 1,
    "heads": 2,
    "latent": 8,
    "quantiser_steps": 20,
    "epochs": 2,
    "batch": 64,
}
# Twelve items in a tree with lone children, wide nodes and a last code that tells alike ones apart.
CODES = np.array(
    [[a, b, c, 0] for a, b, c in itertools.islice(itertools.product(range(3), range(2), range(3)), 11)] + [[0, 0, 0, 1]]
)


def _network(**changed: Any) -> Tiger:
    torch.manual_seed(0)
    sizes = {"users": 5, "width": 16, "layers": 2, "heads": 2, "inner": 32, "dropout": 0.0, "history": 6, **changed}
    shape = Shape((4, 3, 3, 2), **sizes)
    network = Tiger(shape)
    network.names = torch.from_numpy(np.pad(CODES, ((1, 0), (0, 0))))
    return network.eval()


def _clusters(items: int = 60) -> torch.Tensor:
    """Features around six far points."""
    generator = torch.Generator().manual_seed(2)
    points = 5 * torch.randn(6, 10, generator=generator)
    return points[torch.arange(items) % 6] + 0.1 * torch.randn(items, 10, generator=generator)


def test_a_quantiser_takes_the_nearest_codes_of_what_is_left() -> None:
    quantiser = tiger_quantiser.Quantiser(tiger_quantiser.Form(features=2, latent=2, levels=2, codebook=2))
    quantiser.encoder = quantiser.decoder = torch.nn.Sequential()  # the identity
    quantiser.tables.data = torch.tensor([[[0.0, 0.0], [4.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]])
    features = torch.tensor([[5.0, 4.0], [0.0, 1.0], [0.5, 0.0]])
    loss, codes, saw = quantiser(features)
    assert codes.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert saw[0].tolist() == [[5.0, 4.0], [1.0, 0.0]]
    # Rounded to (5, 4), (0, 1) and (1, 0): what is left is 1/2 in one of six numbers. Each level: (1 + beta) |r - e|^2.
    rebuilding, first, second = 0.25 / 6, (1 + 1 + 0.25) / 6, 0.25 / 6
    assert loss.item() == pytest.approx(rebuilding + 1.25 * (first + second))


def test_the_gradient_passes_the_rounding_and_each_part_has_its_own() -> None:
    quantiser = tiger_quantiser.Quantiser(tiger_quantiser.Form(features=2, latent=2, levels=1, codebook=2, beta=0.5))
    quantiser.encoder = torch.nn.Sequential()
    quantiser.decoder = torch.nn.Sequential()
    quantiser.tables.data = torch.tensor([[[1.0, 1.0], [9.0, 9.0]]])
    x = torch.tensor([[1.5, 1.0]], requires_grad=True)
    quantiser(x)[0].backward()
    # d/dx of mean (x' - x)^2 is 0, x' being x + (e - x) with the bracket held; the commitment gives beta (x - e).
    assert x.grad is not None and torch.allclose(x.grad, torch.tensor([[0.5 * 0.5, 0.0]]))
    assert quantiser.tables.grad is not None
    assert torch.allclose(quantiser.tables.grad, torch.tensor([[[-0.5, 0.0], [0.0, 0.0]]]))


def test_k_means_finds_far_clusters_and_leaves_no_centre_without_points() -> None:
    points = _clusters()
    table = tiger_quantiser.k_means(points, 6, torch.Generator().manual_seed(0))
    own = tiger_quantiser.nearest(points, table)
    assert len(own.unique()) == 6
    assert all(len(own[k::6].unique()) == 1 for k in range(6))
    assert torch.allclose(table[own[0]], points[::6].mean(0), atol=1e-5)


def test_a_dead_code_moves_to_what_its_level_sees_of_an_item() -> None:
    quantiser = tiger_quantiser.Quantiser(tiger_quantiser.Form(features=2, latent=2, levels=2, codebook=2))
    quantiser.encoder = quantiser.decoder = torch.nn.Sequential()
    quantiser.tables.data = torch.tensor([[[0.0, 0.0], [4.0, 4.0]], [[1.0, 0.0], [90.0, 90.0]]])
    used = torch.tensor([[3, 2], [5, 0]])
    tiger_quantiser.revive(quantiser, used, torch.tensor([[4.0, 6.0]]))
    assert quantiser.tables.tolist() == [[[0, 0], [4, 4]], [[1, 0], [0, 2]]]


def test_a_trained_quantiser_tells_groups_apart_and_does_it_again(tmp_path: Path) -> None:
    form, work = tiger_quantiser.Form(10, 8, levels=2, codebook=6), tiger_quantiser.Work(80, 60, seed=3, lr=5e-3)
    features, found = _clusters(), []
    for name in "ab":
        with torch.random.fork_rng():
            quantiser, facts = tiger_quantiser.learn(features, form, work, tmp_path / name, "cpu")
        found.append(quantiser.codes(features)[0])
    assert torch.equal(*found)
    assert facts["codes_used"][0] == 1
    assert quantiser(features)[0].item() < 0.2  # of a mean square of one, standardised
    first = found[0][:, 0]
    assert all(len(first[k::6].unique()) == 1 for k in range(6)) and len(first.unique()) == 6


def test_names_differ_and_a_full_prefix_passes_items_on() -> None:
    codes = np.array([[0, 1], [0, 1], [2, 2], [0, 1]])
    order = np.array([[1, 2, 0]] * 4)
    assert distinct(codes, order, 2).tolist() == [[0, 1, 0], [0, 1, 1], [2, 2, 0], [0, 2, 0]]
    with pytest.raises(ConfigError, match=r"more than 3 items have the codes \[0\]"):
        distinct(np.array([[0, 1]] * 4), order, 1)


@pytest.mark.parametrize(("wanted", "items", "size"), [(0, 12_000, 256), (0, 900, 64), (0, 16, 4), (7, 16, 7)])
def test_codebooks_follow_the_catalogue(wanted: int, items: int, size: int) -> None:
    assert codebook_size(wanted, items) == size


def test_users_hash_to_tokens_that_stay() -> None:
    found = tokens(pl.Series(["ann", "bob", "ann", "cleo"]), 5_000)
    assert found[0] == found[2] and len(set(found.tolist())) == 3
    assert ((found >= 1) & (found <= 5_000)).all()


def test_padding_is_nothing_and_order_and_user_are_something() -> None:
    network, user = _network(), torch.tensor([2])
    wanted = torch.from_numpy(CODES)[None]
    with torch.no_grad():
        short, long, turned, other = (
            network.log_answers(network.encode(who, torch.tensor([past])), wanted)
            for who, past in (
                (user, [3, 7]),
                (user, [0, 0, 3, 7]),
                (user, [7, 3]),
                (torch.tensor([0]), [3, 7]),
            )
        )
    assert torch.allclose(short, long, atol=1e-6)
    assert not torch.allclose(short, turned, atol=1e-3)
    assert not torch.allclose(short, other, atol=1e-3)


def test_an_answer_read_at_once_is_the_sum_of_its_steps_and_all_answers_sum_to_one() -> None:
    network = _network()
    every = torch.tensor(list(itertools.product(*map(range, network.shape.sizes))))
    with torch.no_grad():
        memory = network.encode(torch.tensor([1, 0]), torch.tensor([[0, 4, 2], [1, 2, 3]]))
        whole = network.log_answers(memory, every.expand(2, -1, -1))
        assert torch.allclose(whole.exp().sum(1), torch.ones(2), atol=1e-5)
        x, past, total = network.starts(2), None, torch.zeros(2)
        for level, code in enumerate((1, 2, 0, 1)):  # one code at a time, keys and values of the others kept
            states, past = network.decode(memory, x, past)
            total = total + network.log_chances(states[:, :, -1], level)[:, 0, code]
            x = network.said(torch.full((2, 1), code), level)
    row = every.tolist().index([1, 2, 0, 1])
    assert torch.allclose(total, whole[:, row], atol=1e-5)


def _questions() -> Asked:
    histories = [
        torch.tensor(row, dtype=torch.int64) for row in ([3, 1], [], [5, 9, 11, 2, 2, 6, 7, 8], [12], [4, 4, 10])
    ]
    return Asked(torch.tensor([1, 0, 3, 5, 0]), histories)


def _scores(network: Tiger, width: int, asked: Asked | None = None) -> torch.Tensor:
    some = asked or _questions()
    found = torch.full((len(some), len(CODES)), torch.nan)
    for rows, scores in tiger_decoding.rankings(network, some, Tree(CODES), width):
        found[rows] = scores
    return found


def test_a_wide_beam_equals_scoring_every_item_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network()
    wide = _scores(network, 11)  # prefixes of the level before the last
    monkeypatch.setattr(tiger_decoding, "_ANSWERS", 5 * tiger_decoding.ROWS)  # five items at a time
    exact = _scores(network, 0)
    assert not exact.isnan().any()
    assert torch.allclose(wide, exact, atol=1e-5)
    assert (exact.exp().sum(1) < 1).all()


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_narrow_beam_ranks_what_it_reached_exactly_and_all_others_behind(width: int) -> None:
    network = _network()
    narrow, exact = _scores(network, width), _scores(network, 0)
    assert narrow.isfinite().all()
    for mine, theirs, (past, user) in zip(
        narrow, exact, zip(_questions().histories, _questions().users, strict=True), strict=True
    ):
        kept = _beam(network, past, user, width)
        reached = torch.tensor([tuple(code[:3]) in kept for code in CODES.tolist()])
        assert width <= reached.sum() < len(CODES)
        assert torch.allclose(mine[reached], theirs[reached], atol=1e-5)
        assert mine[~reached].max() < mine[reached].min()


def _beam(network: Tiger, past: torch.Tensor, user: torch.Tensor, width: int) -> set[tuple[int, ...]]:
    """The prefixes of three codes that a beam keeps, by a plain search without keys, values or trees."""
    known = {tuple(code[:length]) for code in CODES.tolist() for length in range(1, 4)}
    kept: list[tuple[int, ...]] = [()]
    with torch.no_grad():
        memory = network.encode(user[None], past[None, -6:])
        for length in range(1, 4):
            longer = sorted(name for name in known if len(name) == length and name[:-1] in kept)
            chances = {}
            for name in longer:
                x = [network.starts(1)] + [network.said(torch.tensor([[c]]), k) for k, c in enumerate(name[:-1])]
                states, _ = network.decode(memory, torch.cat(x, 2))
                steps = [network.log_chances(states[0, 0, k], k)[c] for k, c in enumerate(name)]
                chances[name] = float(sum(steps))
            kept = sorted(longer, key=lambda name: -chances[name])[:width]
    return set(kept)


def test_answers_do_not_depend_on_company() -> None:
    network, asked = _network(), _questions()
    together = _scores(network, 3)
    for k in range(len(asked)):
        alone = _scores(network, 3, Asked(asked.users[k : k + 1], asked.histories[k : k + 1]))
        assert torch.equal(alone[0], together[k])


def test_ndcg_masks_seen_items_and_counts_ties_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.zeros(2, 12)
    scores[0, 4], scores[0, 6], scores[0, 8] = 3, 2, 1  # items 5, 7, 9
    monkeypatch.setattr(tiger_training, "rankings", lambda *_: iter([([0, 1], scores)]))
    asked = Asked(torch.tensor([0, 0]), [torch.tensor([5]), torch.tensor([1])])
    found = tiger_training.ndcg10(_network(), asked, torch.tensor([9, 2]), Tree(CODES), 3)
    assert found == pytest.approx((1 / np.log2(3) + 0) / 2)  # second of what is left; last of eleven equal ones


def test_an_epoch_draws_all_places_or_so_many_of_each_user() -> None:
    lengths, generator = torch.tensor([3, 1, 4]), torch.Generator().manual_seed(0)
    everything = {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)}
    pairs = list(zip(*(part.tolist() for part in tiger_training.drawn(lengths, 0, generator)), strict=True))
    assert set(pairs) == everything and len(pairs) == 8
    seen = set()
    for _ in range(40):
        pairs = list(zip(*(part.tolist() for part in tiger_training.drawn(lengths, 2, generator)), strict=True))
        assert [user for user, _ in pairs] == [0, 0, 1, 2, 2] and len(set(pairs)) == 5
        seen |= set(pairs)
    assert seen == everything


def _trained(folder: Path, epochs: int = 4, stop: int | None = None, **changed: Any) -> tuple[Tiger, list[float]]:
    """Training on sequences in which item k is followed by k + 1."""
    losses: list[float] = []

    def step(epoch: int, loss: float, score: float | None) -> None:
        losses.append(loss)
        if epoch == stop:
            raise KeyboardInterrupt

    with torch.random.fork_rng():
        network = _network(dropout=0.1, **changed)
        rows = [torch.arange(k % 7 + 1, k % 7 + 6) for k in range(30)]
        valid = Asked(torch.zeros(30, dtype=torch.int64), [row[:-1] for row in rows])
        lessons = tiger_training.Lessons(torch.arange(30) % 5 + 1, rows, valid, torch.stack([row[-1] for row in rows]))
        plan = learning.Plan("tiger", epochs, 100, 3e-3, 1, 0.0, checkpoint_seconds=0.0)
        manner = tiger_training.Manner(batch=16, targets=0, nobody=0.2, beam=5)
        tiger_training.train(network, lessons, Tree(CODES), manner, plan, folder / "checkpoint", step)
    return network, losses


def test_an_interrupted_training_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, losses = _trained(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "b", stop=2)
    resumed, rest = _trained(tmp_path / "b")
    assert losses[2:] == rest
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_it_learns_what_follows_what(tmp_path: Path) -> None:
    network, losses = _trained(tmp_path, epochs=12, width=32)
    assert losses[-1] < losses[0] / 2
    asked = Asked(torch.zeros(7, dtype=torch.int64), [torch.arange(k, k + 4) for k in range(1, 8)])
    assert tiger_training.ndcg10(network, asked, torch.arange(5, 12), Tree(CODES), 4) == 1


def test_a_choice_is_by_exact_chances_over_the_catalogue() -> None:
    network, items = _network(), pl.Series([f"i{k}" for k in range(12)])
    examples = pl.DataFrame({"example_id": ["a", "b"], "candidates": [["i3", "i7", "new"], ["i11", "i0"]]})
    some = Asked(torch.tensor([1, 0]), [torch.tensor([3, 1]), torch.tensor([2])])
    found = tiger_selecting.probabilities(network, some, examples, items)
    exact = _scores(network, 0, some).double().exp().numpy()
    assert np.allclose(found[0], [exact[0, 3], exact[0, 7], 0.0], atol=1e-7)
    assert np.allclose(found[1, :2], exact[1, [11, 0]], atol=1e-7) and np.isnan(found[1, 2])


def test_a_threshold_is_tuned_and_without_one_the_best_candidate_is_chosen() -> None:
    examples = pl.DataFrame({"example_id": ["a", "b"], "candidates": [["i3", "i7", "new"], ["i11", "i0"]]})
    labelled = examples.with_columns(item_ids=pl.Series([["i7"], ["i0", "i11"]]))
    given = np.array([[0.1, 0.5, 0.0], [0.2, 0.3, np.nan]])
    assert choosing.best_threshold(given, choosing.rights(labelled, ~np.isnan(given))) == 0.2
    for threshold, wanted in ((0.2, [["i7"], ["i0", "i11"]]), (0.6, [["i7"], ["i0"]]), (None, [["i7"], ["i0"]])):
        said = choosing.answers(examples, given, threshold)
        assert said["item_ids"].to_list() == wanted
    said = choosing.answers(examples, given, 0.05)
    assert said["item_ids"].to_list() == [["i7", "i3"], ["i0", "i11"]]
    assert np.allclose(said["scores"].to_list(), [[0.5, 0.1], [0.3, 0.2]])


class Described:
    """Numbers by category, price and hash of the id; item i05 has no text."""

    modality: ClassVar[Modality] = "text"
    version: ClassVar[str] = "1"

    def identity(self) -> str:
        return self.version

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        items = view.items
        kind = items["categories"].list.last().rank("dense").to_numpy()
        values = np.stack([5.0 * kind, items["price_usd"].to_numpy(), np.sin(np.arange(len(items)))], 1)
        return values.astype(np.float32), (items["item_id"] != "i05").to_numpy()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The tiny shop, and features of its items."""
    encoders(monkeypatch, [EntryPoint("tfidf_svd", "tests.baselines.test_tiger:Described", GROUP)])
    return Dataset.open(home_at(tmp_path / "home"), "shop")


@pytest.mark.parametrize(("adapt", "changed"), [(False, {}), (True, {}), (True, {"transfer": "zero_shot"})])
def test_the_contract(tmp_path: Path, shop: Dataset, adapt: bool, changed: dict[str, Any]) -> None:
    runner = holds(shop, tmp_path, partial(TIGER, **SMALL, **changed), adapt=adapt)
    examples = examples_for(shop, runner, "recommendation", adapt=adapt)
    longest = said(shop, runner, "recommendation", examples)["item_ids"].list.len().to_list()
    # Everything that was not seen, whatever the beam.
    assert longest == [(4 if adapt else 16) - n for n in examples["history"].list.len().to_list()]


def test_a_user_of_whom_training_saw_nothing_is_nobody(tmp_path: Path, shop: Dataset) -> None:
    runner = fitted(shop, tmp_path, partial(TIGER, **SMALL))
    assert runner._learned is not None
    examples = shop.examples("recommendation", "test").collect()
    cohorts = examples["cohort"].to_list()
    users = runner._learned.asked(examples).users.tolist()
    assert all((user > 0) == (cohort == "in_domain") for user, cohort in zip(users, cohorts, strict=True))
    alone = fitted(shop, tmp_path / "zero", partial(TIGER, **SMALL, transfer="zero_shot"), adapt=True)
    assert alone._learned is not None and not alone._learned.asked(examples).users.any()
    tuned = fitted(shop, tmp_path / "tuned", partial(TIGER, **SMALL), adapt=True)
    assert tuned._learned is not None
    users = tuned._learned.asked(examples).users.tolist()
    assert all((user > 0) == (cohort == "new_domain") for user, cohort in zip(users, cohorts, strict=True))


def test_zero_shot_names_new_items_with_the_codebooks_and_the_network_as_they_are(
    tmp_path: Path, shop: Dataset
) -> None:
    before = fitted(shop, tmp_path / "a", partial(TIGER, **SMALL))._learned
    after = fitted(shop, tmp_path / "b", partial(TIGER, **SMALL, transfer="zero_shot"), adapt=True)._learned
    tuned = fitted(shop, tmp_path / "c", partial(TIGER, **SMALL), adapt=True)._learned
    assert before is not None and after is not None and tuned is not None
    weights = [part.network.state_dict() for part in (before, after, tuned)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    for part in (after, tuned):
        assert torch.equal(part.quantiser.tables, before.quantiser.tables)
        assert sorted(part.named.items.to_list()) == ["i16", "i17", "i18", "i19"]
    found = item_features(shop.catalogue(), "tfidf_svd", Context(0, tmp_path))
    rows = shop.catalogue().items["item_id"].is_in(after.named.items.to_list()).to_numpy()
    codes, order = (part.numpy() for part in before.quantiser.codes(torch.from_numpy(found.values[rows])))
    assert after.named.codes.tolist() == distinct(codes, order, before.quantiser.form.codebook).tolist()


def test_changed_files_are_not_taken_up(tmp_path: Path, shop: Dataset) -> None:
    fitted(shop, tmp_path, partial(TIGER, **SMALL))
    with (tmp_path / "fit-state/names.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"names.parquet is missing or was changed"):
        TIGER(**SMALL).load(tmp_path / "fit-state")


def test_a_catalogue_without_text_is_refused(tmp_path: Path, shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> tuple[Values, Present]:
        return np.zeros((20, 3), dtype=np.float32), np.zeros(20, dtype=bool)

    monkeypatch.setattr(Described, "encode", nothing)
    with pytest.raises(ConfigError, match=r"tiger: no item of in_domain has text for tfidf_svd"):
        fitted(shop, tmp_path, partial(TIGER, **SMALL))


def test_new_items_are_not_named_by_the_features_of_another_encoder(
    tmp_path: Path, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = fitted(shop, tmp_path / "a", partial(TIGER, **SMALL))
    monkeypatch.setattr(Described, "version", "2")
    data = {"recommendation": task_data(shop, "recommendation", new_domains=True)}
    with pytest.raises(ConfigError, match=r"^encoder 'tfidf_svd' is no longer what it was at this fit; [^\n]*$"):
        runner.adapt(data, Context(0, tmp_path))


@pytest.mark.parametrize(
    "wrong", [{"levels": 0}, {"codebook": 1}, {"lr": 0.0}, {"nobody": 1.0}, {"beam": -1}, {"width": 10, "heads": 4}]
)
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"tiger: .*="):
        TIGER(**wrong)


def test_validation_looks_at_so_many_users_and_knows_them(
    tmp_path: Path, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[tiger_training.Lessons, tiger_training.Manner, learning.Plan]] = []
    train = tiger_training.train

    def watched(network: Tiger, lessons: Any, tree: Tree, manner: Any, plan: Any, *rest: Any) -> dict[str, Any]:
        given.append((lessons, manner, plan))
        return train(network, lessons, tree, manner, plan, *rest)

    monkeypatch.setattr(tiger_training, "train", watched)
    data = {"recommendation": task_data(shop, "recommendation", new_domains=False)}
    runner = TIGER(**SMALL, valid_users=7, history=5)
    runner.fit(data, Context(0, tmp_path, max_seconds=1_000.0))
    lessons, manner, plan = given[0]
    assert len(lessons.valid) == len(lessons.targets) == 7
    assert manner.beam == 10 + 5
    assert 700 < plan.max_seconds < 1_000  # the codebooks had their share
    assert set(lessons.valid.users.tolist()) <= set(lessons.users.tolist())
    assert runner._learned is not None and runner._learned.threshold is None
