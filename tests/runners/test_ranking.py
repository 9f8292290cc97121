from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import PredictionError
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS
from unimp_bench.runners import ranking
from unimp_bench.runners.protocol import ScoreBlock
from unimp_bench.runners.ranking import ranked, seen_items, top_items
from unimp_bench.schemas import EXAMPLES, ITEMS, PREDICTIONS, STRINGS, conform

INF = float("inf")
NAN = float("nan")


def none_seen(batch: int) -> list[np.ndarray]:
    return [np.empty(0, dtype=np.int64)] * batch


def top(scores: list[list[float]], k: int = 3, **options: object) -> list[list[int]]:
    matrix = np.array(scores, dtype=np.float32)
    defaults = {
        "example_ids": [f"u{n}" for n in range(len(matrix))],
        "members": np.ones(matrix.shape[1], dtype=bool),
        "seen": none_seen(len(matrix)),
        "k": k,
    }
    return top_items(matrix, **(defaults | options))[0].tolist()  # type: ignore[arg-type]


def test_best_first() -> None:
    assert top([[1, 3, 2, 0], [0.5, -1, 2, 1]]) == [[1, 2, 0], [2, 3, 0]]


def test_seen_items_and_others_than_members_are_left_out() -> None:
    seen = [np.array([1]), np.array([2, 2, 3])]
    assert top([[1, 3, 2, 0]] * 2, seen=seen) == [[2, 0, 3], [1, 0, -1]]
    members = np.array([True, True, False, True])
    assert top([[1, 3, 2, 0]] * 2, seen=seen, members=members) == [[0, 3, -1], [1, 0, -1]]


def test_what_has_no_score_is_never_recommended() -> None:
    assert top([[NAN, 1, -INF, 2], [NAN] * 4, [-INF, INF, -3e38, NAN]]) == [[3, 1, -1], [-1] * 3, [1, 2, -1]]


def test_scores_come_along_and_padding_is_minus_infinity() -> None:
    indices, scores = top_items(
        np.array([[0.5, NAN, 2.5]], dtype=np.float32),
        example_ids=["u"],
        members=np.ones(3, bool),
        seen=none_seen(1),
        k=4,
    )
    assert indices.dtype == np.int32 and scores.dtype == np.float32
    assert (indices.tolist(), scores.tolist()) == ([[2, 0, -1, -1]], [[2.5, 0.5, -INF, -INF]])


def test_nothing_to_rank() -> None:
    assert top([[1, 2]], members=np.zeros(2, dtype=bool)) == [[-1, -1, -1]]
    found = top_items(np.empty((0, 5), np.float32), example_ids=[], members=np.ones(5, bool), seen=[], k=2)
    assert found[0].shape == (0, 2)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="need 1 example ids"):
        top([[1, 2]], example_ids=["a", "b"])
    with pytest.raises(ValueError, match="2 members"):
        top([[1, 2]], members=np.ones(3, dtype=bool))
    for bad in (-1, 2):
        with pytest.raises(ValueError, match="from 0 to 1"):
            top([[1, 2]], seen=[np.array([bad])])


def plainly(
    scores: np.ndarray, ids: list[str], members: np.ndarray, seen: list[np.ndarray], k: int, seed: int
) -> list[list[int]]:
    """The definition, by a full sort of each row."""
    keys = keyed.string_keys(pl.Series(ids), "ties", seed)
    lists = []
    for row, key in enumerate(keys):
        hashes = keyed.mix(np.full(scores.shape[1], key), np.arange(scores.shape[1], dtype=np.uint64))
        hidden = set(seen[row].tolist())
        allowed = [
            i
            for i, s in enumerate(scores[row].tolist())
            if members[i] and i not in hidden and not np.isnan(s) and s > -INF
        ]
        best = sorted(allowed, key=lambda i: (-scores[row, i], hashes[i]))[:k]
        lists.append(best + [-1] * (k - len(best)))
    return lists


@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("levels", [0, 1, 3, 40, 1_000_000])
def test_equal_to_a_full_sort(levels: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed rows: distinct and tied scores, mostly equal ones, few candidates, missing scores."""
    monkeypatch.setattr(ranking, "_CHUNK", 1 << 13)  # several chunks
    rng = np.random.default_rng([levels, k])
    batch, items = 40, 900
    scores = (rng.integers(0, levels + 1, (batch, items)) / 7 - 0.2).astype(np.float32)
    scores[rng.random((batch, items)) < 0.02] = NAN
    scores[:5][rng.random((5, items)) < 0.97] = -INF  # fewer than k left
    scores[5:10][rng.random((5, items)) < 0.97] = 0  # a sparse scorer
    scores[10] = np.sort(scores[10])
    scores[11, ::2], scores[11, 1::2] = 0.0, -0.0  # equal, though their bits differ
    members = rng.random(items) < 0.8
    seen = [rng.integers(0, items, rng.integers(0, 60)) for _ in range(batch)]
    ids = [f"user{n}:000007" for n in range(batch)]
    found, best = top_items(scores, example_ids=ids, members=members, seen=seen, k=k, seed=3)
    assert found.tolist() == plainly(scores, ids, members, seen, k, seed=3)
    held = np.where(found >= 0, np.take_along_axis(scores, np.maximum(found, 0), axis=1), -INF)
    np.testing.assert_array_equal(best, held)


def test_too_few_small_hashes_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortcut that drops large hashes must not change the result where it drops too many."""
    expected = top([[0.0] * 5000] * 3, k=10)
    monkeypatch.setattr(ranking, "_DEVIATIONS", -1.93)  # keeps 0.04 of 5,000 hashes, where 10 are needed
    assert top([[0.0] * 5000] * 3, k=10) == expected


def test_neither_batch_nor_order_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (30, 500)).astype(np.float32)
    ids = [f"u{n}" for n in range(30)]
    seen = [rng.integers(0, 500, 9) for _ in ids]
    members = np.ones(500, dtype=bool)
    whole, _ = top_items(scores, example_ids=ids, members=members, seen=seen, k=20)
    order = rng.permutation(30)
    mixed, _ = top_items(
        scores[order], example_ids=[ids[i] for i in order], members=members, seen=[seen[i] for i in order], k=20
    )
    np.testing.assert_array_equal(mixed, whole[order])
    for row in (0, 13):
        alone, _ = top_items(scores[[row]], example_ids=[ids[row]], members=members, seen=[seen[row]], k=20)
        np.testing.assert_array_equal(alone[0], whole[row])
    monkeypatch.setattr(ranking, "_CHUNK", 1)
    np.testing.assert_array_equal(top_items(scores, example_ids=ids, members=members, seen=seen, k=20)[0], whole)


def test_a_shorter_list_is_the_head_of_a_longer_one() -> None:
    scores = [[float(n % 4) for n in range(400)]] * 3
    assert [row[:7] for row in top(scores, k=50)] == top(scores, k=7)


def test_the_seed_changes_ties_and_nothing_else() -> None:
    scores = np.repeat([3.0, 2.0, 1.0], [5, 300, 300])[None].repeat(4, axis=0).tolist()
    first, second = top(scores, k=100, seed=0), top(scores, k=100, seed=1)
    assert first == top(scores, k=100, seed=0)
    assert first != second
    assert all(set(row[:5]) == {0, 1, 2, 3, 4} and max(row) < 305 for row in first + second)
    assert first[0] != first[1]  # examples draw apart


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_scorer_that_knows_nothing_earns_chance(levels: int, seed: int) -> None:
    """5,000 examples, 200 items: constant scores, and three levels of scores drawn blindly for all."""
    batch, items, k = 5000, 200, 5
    rng = np.random.default_rng([11, levels, seed])
    target = rng.integers(0, items, batch)
    scores = rng.integers(0, levels, (1, items)).astype(np.float32).repeat(batch, axis=0)
    ids = [f"user{n}:{n % 9:06d}" for n in range(batch)]
    found, _ = top_items(scores, example_ids=ids, members=np.ones(items, bool), seen=none_seen(batch), k=k, seed=seed)
    item_ids = np.array([f"i{n}" for n in range(items)])
    truth = pl.DataFrame({"example_id": ids, "item_ids": pl.Series(item_ids[target][:, None].tolist(), dtype=STRINGS)})
    said = pl.DataFrame({"example_id": ids, "item_ids": pl.Series(item_ids[found].tolist(), dtype=STRINGS)})
    for name, chance in (("hr@5", k / items), ("ndcg@5", sum(1 / np.log2(np.arange(2, 7))) / items)):
        values = METRICS[name].compute(truth, said, MetricContext())["value"].to_numpy()
        held = METRICS[name].interval(values, seed=0)
        assert held.low is not None and held.high is not None
        assert held.low <= chance <= held.high
        assert held.high - held.low < chance  # and the interval says something


def test_every_item_is_as_likely_as_any_other_where_all_are_equal() -> None:
    batch, items, k = 8000, 50, 5
    found, _ = top_items(
        np.zeros((batch, items), np.float32),
        example_ids=[f"u{n}" for n in range(batch)],
        members=np.ones(items, bool),
        seen=none_seen(batch),
        k=k,
    )
    for place in (slice(0, 1), slice(4, 5), slice(0, 5)):  # first, last, anywhere
        counts = np.bincount(found[:, place].ravel(), minlength=items)
        expected = counts.sum() / items
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert 20 < chi2 < 95  # 49 degrees of freedom: far beyond one in 10,000 at either end


def test_over_many_seeds_a_tied_target_earns_its_expected_value() -> None:
    """One better item, then ten equal ones with the target among them: its rank is uniform on 2 ... 11."""
    row = np.zeros((1, 30), dtype=np.float32)
    row[0, 3], row[0, 10:20] = 2, 1
    ranks = []
    for seed in range(3000):
        found, _ = top_items(row, example_ids=["u"], members=np.ones(30, bool), seen=none_seen(1), k=11, seed=seed)
        ranks.append(found[0].tolist().index(14) + 1)
    gain = np.array([1 / np.log2(r + 1) if r <= 5 else 0.0 for r in ranks])
    expected = sum(1 / np.log2(r + 1) for r in range(2, 6)) / 10
    assert abs(gain.mean() - expected) < 4 * gain.std() / 3000**0.5
    assert set(ranks) == set(range(2, 12))


@pytest.fixture
def view() -> Catalogue:
    """Six items, two of which are of the domain held out."""
    items = pl.DataFrame(
        {
            "item_id": list("abcdef"),
            "item_index": range(6),
            "domain": ["toys", "toys", "office", "toys", "office", "toys"],
        }
    )
    return Catalogue(conform(items, ITEMS.columns), frozenset({"office"}), ())


def examples(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "example_id": [f"{user}:000009" for user, _, _ in rows],
            "user_id": [user for user, _, _ in rows],
            "cohort": [cohort for _, cohort, _ in rows],
            "history": [[{"item_id": i, "rating": 5.0, "explanation": None} for i in past] for _, _, past in rows],
        },
        schema_overrides={"history": EXAMPLES.columns["history"]},
    )
    return conform(frame, EXAMPLES.columns)


ASKED = examples(
    [("u1", "in_domain", ["a"]), ("u2", "new_domain", ["c"]), ("u3", "new_user", []), ("u4", "in_domain", [])]
)


def block(users: list[str], scores: list[list[float]]) -> ScoreBlock:
    return ScoreBlock([f"{user}:000009" for user in users], np.array(scores, dtype=np.float32))


def test_blocks_become_predictions(view: Catalogue) -> None:
    rising = [0.0, 1, 2, 3, 4, 5]
    found = ranked(block(["u3", "u2", "u1"], [rising] * 3), ASKED, view, 0, k=3)
    assert found.schema == pl.Schema(PREDICTIONS["ranking"].columns)
    assert found["example_id"].to_list() == ["u3:000009", "u2:000009", "u1:000009"]
    assert found["item_ids"].to_list() == [["f", "d", "b"], ["e"], ["f", "d", "b"]]
    assert found["scores"].to_list() == [[5, 3, 1], [4], [5, 3, 1]]
    assert ranked(block(["u1"], [rising]), ASKED, view, 0)["item_ids"].to_list() == [["f", "d", "b"]]  # not a: seen


def test_further_seen_items_of_long_histories(view: Catalogue) -> None:
    train = pl.DataFrame({"user_id": ["u4", "u1", "u4", "u4"], "item_id": ["f", "b", "a", "gone"]})
    seen = seen_items(train, view)
    assert {user: items.tolist() for user, items in seen.items()} == {"u4": [0, 5], "u1": [1]}
    found = ranked(block(["u1", "u4"], [[0, 1, 2, 3, 4, 5]] * 2), ASKED, view, 0, seen=seen)
    assert found["item_ids"].to_list() == [["f", "d"], ["d", "b"]]
    assert seen_items(train.clear(), view) == {}


def test_an_example_without_any_item_left_is_unanswered(view: Catalogue) -> None:
    found = ranked(block(["u1", "u3"], [[9] + [NAN] * 5, [1] + [NAN] * 5]), ASKED, view, 0)
    assert found["item_ids"].to_list() == [None, ["a"]]


def test_an_empty_block(view: Catalogue) -> None:
    found = ranked(ScoreBlock([], np.empty((0, 6), dtype=np.float32)), ASKED, view, 0)
    assert found.height == 0 and found.schema == pl.Schema(PREDICTIONS["ranking"].columns)


def test_blocks_that_break_the_contract_are_refused(view: Catalogue) -> None:
    row = [0.0] * 6
    with pytest.raises(PredictionError, match="names an example twice"):
        ranked(block(["u1", "u1"], [row] * 2), ASKED, view, 0)
    with pytest.raises(PredictionError, match="u9:000009, which was not asked"):
        ranked(block(["u1", "u9"], [row] * 2), ASKED, view, 0)
    with pytest.raises(PredictionError, match=r"is \(1, 5\), wanted"):
        ranked(block(["u1"], [row[1:]]), ASKED, view, 0)
