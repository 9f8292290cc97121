from __future__ import annotations

import math
import warnings

import numpy as np
import polars as pl
import pytest

from unimp_bench.errors import IncompleteError, PredictionError, UnknownNameError
from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext, unanswered
from unimp_bench.metrics.ranking import STEMS, compute
from unimp_bench.runners.ranking import top_items
from unimp_bench.schemas import PREDICTIONS, SCORES, STRINGS

CONTEXT = MetricContext()


def answers(lists: dict[str, list[str] | None]) -> pl.DataFrame:
    return pl.DataFrame({"example_id": list(lists), "item_ids": pl.Series(list(lists.values()), dtype=STRINGS)})


def values(frame: pl.DataFrame, name: str) -> list[float]:
    return frame.filter(pl.col("metric") == name).sort("example_id")["value"].to_list()


def test_one_relevant_item_scores_by_its_rank() -> None:
    truth = answers({"u1": ["a"], "u2": ["b"], "u3": ["c"]})
    said = answers({"u1": ["a", "x", "y"], "u2": ["x", "y", "b"], "u3": ["x", "y", "z"]})
    found = compute(["hr@3", "ndcg@3", "mrr@3"], truth, said, CONTEXT)
    assert found.schema == pl.Schema(SCORES.columns)
    assert values(found, "hr@3") == [1, 1, 0]
    assert values(found, "ndcg@3") == pytest.approx([1, 0.5, 0])  # 1 / log2(3 + 1)
    assert values(found, "mrr@3") == pytest.approx([1, 1 / 3, 0])


def test_ranks_beyond_k_earn_nothing_and_rank_k_counts() -> None:
    truth, said = answers({"u": ["t"]}), answers({"u": ["a", "b", "c", "d", "t", "e"]})
    assert values(compute(["hr@5", "mrr@5"], truth, said, CONTEXT), "mrr@5") == [0.2]
    assert values(compute(["hr@3", "hr@5"], truth, said, CONTEXT), "hr@3") == [0]


def test_several_relevant_items_are_held_against_the_best_possible_list() -> None:
    truth, said = answers({"u": ["a", "b", "c"]}), answers({"u": ["x", "b", "a"]})
    got = 1 / math.log2(3) + 1 / math.log2(4)
    assert values(compute(["ndcg@3"], truth, said, CONTEXT), "ndcg@3") == [
        pytest.approx(got / (1 + 1 / math.log2(3) + 1 / math.log2(4)))
    ]
    # Only two places: the best list has two relevant items, not three.
    assert values(compute(["ndcg@2"], truth, said, CONTEXT), "ndcg@2") == [
        pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    ]


def test_a_repeated_item_counts_once_where_it_first_stands() -> None:
    truth, said = answers({"u": ["a"]}), answers({"u": ["x", "a", "a", "a", "a"]})
    assert values(compute(["ndcg@5"], truth, said, CONTEXT), "ndcg@5") == [pytest.approx(1 / math.log2(3))]


def test_unanswered_scores_zero_and_is_counted() -> None:
    truth = answers({"u1": ["a"], "u2": ["a"], "u3": ["a"], "u4": ["a"]})
    said = answers({"u1": None, "u2": [], "u4": ["a"]})
    found = compute(["ndcg@5", "hr@5", "mrr@5"], truth, said, CONTEXT)
    for name in ("ndcg@5", "hr@5", "mrr@5"):
        assert values(found, name) == [0, 0, 0, 1]
    assert unanswered(truth, said, "ranking")["unanswered"].to_list() == [True, True, True, False]


def test_nobody_answered_at_all() -> None:
    truth, said = answers({"u1": ["a"], "u2": ["b"]}), pl.DataFrame(schema=dict(PREDICTIONS["ranking"].columns))
    assert values(compute(["ndcg@5"], truth, said, CONTEXT), "ndcg@5") == [0, 0]
    assert compute(["ndcg@5"], truth.clear(), said, CONTEXT).height == 0


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    items = [f"i{n}" for n in range(30)]
    truth = answers({f"u{n}": [items[rng.integers(30)]] for n in range(50)})
    said = answers({f"u{n}": list(rng.permutation(items)[:10]) for n in range(50)})
    names = spec.names_of("ranking")
    expected = spec.score(names, truth, said, CONTEXT)
    mixed = spec.score(
        names, truth.sample(fraction=1, shuffle=True, seed=1), said.sample(fraction=1, shuffle=True, seed=2), CONTEXT
    )
    assert mixed.equals(expected)
    assert expected["value"].sum() > 0


def test_each_metric_alone_gives_what_the_family_gives() -> None:
    truth, said = answers({"u1": ["a"], "u2": ["b"]}), answers({"u1": ["x", "a"], "u2": ["b"]})
    together = spec.score(["mrr@5", "ndcg@10", "hr@3"], truth, said, CONTEXT)
    alone = pl.concat([spec.METRICS[n].compute(truth, said, CONTEXT) for n in ("hr@3", "mrr@5", "ndcg@10")])
    assert alone.sort("example_id", "metric").equals(together)


def test_answered_twice_is_refused() -> None:
    said = pl.concat([answers({"u2": ["a"]}), answers({"u2": ["b"]})])
    with pytest.raises(PredictionError, match="u2 is answered more than once"):
        compute(["hr@5"], answers({"u2": ["a"]}), said, CONTEXT)


def test_an_answer_without_truth_is_refused() -> None:
    with pytest.raises(IncompleteError, match="example u1 has no answer"):
        compute(["hr@5"], answers({"u1": None}), answers({"u1": ["a"]}), CONTEXT)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean ndcg@5"):
        spec.metric("ndgc@5")


def test_any_cut_up_to_100_can_be_named() -> None:
    truth, said = answers({"u": ["t"]}), answers({"u": [f"x{n}" for n in range(14)] + ["t"]})
    assert spec.metric("map@20").compute(truth, said, CONTEXT)["value"].to_list() == [1 / 15]
    assert spec.metric("precision@100").bounds == (0, 1)
    assert spec.metric("popularity@7").higher_is_better is False
    for wrong in ("map@101", "map@0", "map@05", "map@", "map@5 ", "f1@5"):
        with pytest.raises(UnknownNameError):
            spec.metric(wrong)


def test_map_recall_and_precision_by_hand() -> None:
    truth = answers({"u1": ["a", "b", "c"], "u2": ["a"], "u3": ["a"]})
    said = answers({"u1": ["x", "b", "a", "y", "c"], "u2": ["a"], "u3": None})
    found = compute(["map@3", "map@5", "recall@3", "precision@5", "precision@3"], truth, said, CONTEXT)
    assert values(found, "map@3") == pytest.approx([(1 / 2 + 2 / 3) / 3, 1, 0])
    assert values(found, "map@5") == pytest.approx([(1 / 2 + 2 / 3 + 3 / 5) / 3, 1, 0])
    assert values(found, "recall@3") == pytest.approx([2 / 3, 1, 0])
    assert values(found, "precision@5") == pytest.approx([3 / 5, 1 / 5, 0])  # a short list leaves places empty
    assert values(found, "precision@3") == pytest.approx([2 / 3, 1 / 3, 0])


def in_ranx(truth: pl.DataFrame, said: pl.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    """The same numbers by ranx, which sorts by score: our order is handed over as falling scores."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes half a minute, these users a second
        warnings.simplefilter("ignore")  # numba's and ranx's own
        from ranx import Qrels, Run, evaluate

        qrels = Qrels({u: dict.fromkeys(items, 1) for u, items in truth.iter_rows()})
        run = Run({u: {item: float(len(items) - r) for r, item in enumerate(items)} for u, items in said.iter_rows()})
        found = evaluate(qrels, run, [n.replace("hr@", "hit_rate@") for n in names], return_mean=False)
    order = np.argsort(np.array(list(qrels.keys())))
    return {n: np.asarray(found[n.replace("hr@", "hit_rate@")])[order] for n in names}


@pytest.mark.parametrize("tied", [False, True], ids=["distinct scores", "tied scores"])
def test_equal_to_ranx_on_random_data(tied: bool) -> None:
    rng = np.random.default_rng(7)
    users, items = 200, 60
    ids, item_ids = [f"u{n:03d}" for n in range(users)], np.array([f"i{n:02d}" for n in range(items)])
    drawn = rng.random((users, items), dtype=np.float32)
    scored = np.floor(drawn * 5) if tied else drawn
    best, _ = top_items(
        scored, example_ids=ids, members=np.ones(items, bool), seen=[np.empty(0, int)] * users, k=20, seed=3
    )
    said = answers({u: item_ids[row].tolist() for u, row in zip(ids, best, strict=True)})
    truth = answers({u: rng.choice(item_ids, rng.integers(1, 8), replace=False).tolist() for u in ids})
    names = [f"{stem}@{k}" for stem in STEMS for k in (1, 3, 5, 10, 20)]
    ours, theirs = spec.score(names, truth, said, CONTEXT), in_ranx(truth, said, names)
    for name in names:
        np.testing.assert_allclose(values(ours, name), theirs[name], atol=1e-12)
        assert 0 < theirs[name].mean() < 1
