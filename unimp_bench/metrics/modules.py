"""Our metrics as Hugging Face `evaluate` modules, usable without network: `load_metric("ndcg@5").compute(...)`.

`evaluate.load` asks the hub for a script; these classes stand in the package instead and call the same functions as
`unimp-bench run`. `add_batch`, `evaluate.combine` and distributed use work as with any other module. Importing this
module imports `evaluate` and `datasets`; the rest of the toolkit does not need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import evaluate
import polars as pl
from datasets import Features, Value
from datasets import Sequence as Many

from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS, metric
from unimp_bench.schemas import PREDICTIONS, STRINGS

_CITATION = """@inproceedings{wei2024unimp, title={Towards Unified Multi-Modal Personalization: Large Vision-Language
Models for Generative Recommendation and Beyond}, booktitle={ICLR}, year={2024}}"""


class _Module(evaluate.Metric):  # type: ignore[misc]
    """What the families have in common; `config_name` is the metric's name."""

    column: ClassVar[str]
    kind: ClassVar[pl.DataType | type[pl.DataType]]
    feature: ClassVar[Any]
    usage: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=f"{self.config_name} as in unimp-bench. {type(self).__doc__}",
            citation=_CITATION,
            inputs_description=f"\n\nArgs:\n    {self.usage}\n",
            features=Features({"predictions": self.feature, "references": self.feature}),
        )

    def _compute(self, *, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float | None]:
        spec = metric(self.config_name)
        ids = [f"{row:09d}" for row in range(len(references))]

        def frame(cells: Sequence[Any]) -> pl.DataFrame:
            return pl.DataFrame({"example_id": ids, self.column: pl.Series(cells, dtype=self.kind)})

        values = spec.compute(frame(references), frame(predictions), MetricContext())["value"]
        return {spec.name: spec.interval(values.to_numpy(), seed=0, resamples=1).value}


class Ranking(_Module):
    """Ranking at a cut: hit rate, NDCG, reciprocal rank, average precision, recall, precision."""

    column, kind, feature = "item_ids", STRINGS, Many(Value("string"))
    usage = "predictions: item ids of each example, best first.\n    references: ids of its relevant items."


class Selection(_Module):
    """Precision, recall and F1 of chosen sets, macro or micro, and exact matches."""

    column, kind, feature = "item_ids", STRINGS, Many(Value("string"))
    usage = "predictions: ids of the items chosen in each example.\n    references: ids of the right ones."


class Rating(_Module):
    """Error of predicted ratings from 1 to 5; None counts as the worst rating."""

    column, kind, feature = "rating", PREDICTIONS["rating"].columns["rating"], Value("float32")
    usage = "predictions: one rating an example.\n    references: the ratings given."


class Text(_Module):
    """Texts against references (ROUGE F-measure, BLEU, METEOR) or among themselves (distinct-n); silence is worst."""

    column, kind, feature = "text", pl.String, Value("string")
    usage = "predictions: one text an example.\n    references: the texts written."


_FAMILIES: dict[str, type[_Module]] = {"ranking": Ranking, "selection": Selection, "rating": Rating, "text": Text}


def load_metric(name: str, **options: Any) -> evaluate.Metric:
    """The metric as an `evaluate` module.

    Args:
        name: one of `metrics.spec.METRICS`, or a ranking metric at another cut, as `map@20`; except those that need a
            catalogue, a model or something else beside answers and predictions.
        **options: passed on to `evaluate.Metric` (`cache_dir`, `keep_in_memory`, `experiment_id`, `num_process`, ...).

    Raises:
        UnknownNameError: there is no such module.
    """
    usable = [one.name for one in METRICS.values() if one.answer_kind in _FAMILIES and not one.lacks(MetricContext())]
    try:
        spec = metric(name)
    except UnknownNameError:
        raise UnknownNameError("metric", name, usable) from None
    if spec.answer_kind not in _FAMILIES or spec.lacks(MetricContext()):
        raise UnknownNameError("metric", name, usable)
    return _FAMILIES[spec.answer_kind](config_name=name, **options)
