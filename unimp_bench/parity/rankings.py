"""Ranking metrics by other libraries; each is told an order by scores that fall by one from item to item."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from unimp_bench.parity.samples import CUTS, ITEMS, LISTED, Sample, Values

_EXACT = 1e-9


def _run(drawn: Sample) -> dict[str, dict[str, float]]:
    return {
        example: {item: float(LISTED - place) for place, item in enumerate(items)}
        for example, items in zip(drawn.ids, drawn.rankings, strict=True)
    }


def _relevant(drawn: Sample) -> dict[str, dict[str, int]]:
    return {example: dict.fromkeys(items, 1) for example, items in zip(drawn.ids, drawn.relevant, strict=True)}


def by_ranx(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """All stems at all cuts."""
    from ranx import Qrels, Run, evaluate

    theirs = {
        "hr": "hit_rate",
        "ndcg": "ndcg",
        "mrr": "mrr",
        "map": "map",
        "recall": "recall",
        "precision": "precision",
    }
    names = [f"{other}@{k}" for other in theirs.values() for k in CUTS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba's compiler
        found: Any = evaluate(Qrels(_relevant(drawn)), Run(_run(drawn)), names, return_mean=False)
    for stem, other in theirs.items():
        for k in CUTS:
            yield f"{stem}@{k}", np.asarray(found[f"{other}@{k}"], dtype=np.float64), _EXACT


def by_sklearn(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """NDCG, example by example; items that are not listed have score 0."""
    from sklearn.metrics import ndcg_score

    names = [f"i{index:03d}" for index in range(ITEMS)]
    run, relevant = _run(drawn), _relevant(drawn)
    truth = np.array([[relevant[example].get(item, 0) for item in names] for example in drawn.ids])
    given = np.array([[run[example].get(item, 0.0) for item in names] for example in drawn.ids])
    for k in CUTS:
        values = [ndcg_score(truth[[row]], given[[row]], k=k) for row in range(len(truth))]
        yield f"ndcg@{k}", np.array(values, dtype=np.float64), _EXACT


def by_pytrec_eval(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """trec_eval's own numbers; the reciprocal rank knows no cut, so it is given the first k items only."""
    pytrec_eval: Any = import_module("pytrec_eval")
    cuts = ",".join(map(str, CUTS))
    theirs = {"hr": "success", "ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
    judge = pytrec_eval.RelevanceEvaluator(_relevant(drawn), {f"{other}.{cuts}" for other in theirs.values()})
    found = judge.evaluate(_run(drawn))
    for stem, other in theirs.items():
        for k in CUTS:
            values = [found[example][f"{other}_{k}"] for example in drawn.ids]
            yield f"{stem}@{k}", np.array(values, dtype=np.float64), _EXACT
    for k in CUTS:
        short = {example: dict(list(items.items())[:k]) for example, items in _run(drawn).items()}
        found = pytrec_eval.RelevanceEvaluator(_relevant(drawn), {"recip_rank"}).evaluate(short)
        yield f"mrr@{k}", np.array([found[example]["recip_rank"] for example in drawn.ids], dtype=np.float64), _EXACT


def by_recbole(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """RecBole's evaluator on the matrix of hits (its MAP divides by min(|R|, k), which is |R| for our 1-3 items)."""
    recbole: Any = import_module("recbole.evaluator.metrics")
    deepest = max(CUTS)
    pairs = list(zip(drawn.rankings, drawn.relevant, strict=True))
    hits = np.array([[item in right for item in items[:deepest]] for items, right in pairs])
    many = np.array([len(right) for _, right in pairs])
    config = {"topk": list(CUTS), "metric_decimal_place": 12}
    with _float_alias():
        found = {
            "hr": recbole.Hit(config).metric_info(hits),
            "mrr": recbole.MRR(config).metric_info(hits),
            "precision": recbole.Precision(config).metric_info(hits),
            "map": recbole.MAP(config).metric_info(hits, many),
            "recall": recbole.Recall(config).metric_info(hits, many),
            "ndcg": recbole.NDCG(config).metric_info(hits, many),
        }
    for stem, values in found.items():
        for k in CUTS:
            yield f"{stem}@{k}", np.asarray(values[:, k - 1], dtype=np.float64), _EXACT


@contextmanager
def _float_alias() -> Iterator[None]:
    """`np.float`, which RecBole 1.2.1 still asks for, for as long as it is asked."""
    if hasattr(np, "float"):
        yield
        return
    setattr(np, "float", float)  # noqa: B010
    try:
        yield
    finally:
        delattr(np, "float")
