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
from unimp_bench.metrics.spec import METRICS
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
        spec = METRICS[self.config_name]
        ids = [f"{row:09d}" for row in range(len(references))]

        def frame(cells: Sequence[Any]) -> pl.DataFrame:
            return pl.DataFrame({"example_id": ids, self.column: pl.Series(cells, dtype=self.kind)})

        values = spec.compute(frame(references), frame(predictions), MetricContext())["value"]
        return {spec.name: spec.interval(values.to_numpy(), seed=0, resamples=1).value}


class Ranking(_Module):
    """Ranking at a cut: hit rate, NDCG, reciprocal rank."""

    column, kind, feature = "item_ids", STRINGS, Many(Value("string"))
    usage = "predictions: item ids of each example, best first.\n    references: ids of its relevant items."


class Selection(_Module):
    """Macro precision, recall and F1 of chosen sets."""

    column, kind, feature = "item_ids", STRINGS, Many(Value("string"))
    usage = "predictions: ids of the items chosen in each example.\n    references: ids of the right ones."


class Rating(_Module):
    """Error of predicted ratings from 1 to 5; None counts as the worst rating."""

    column, kind, feature = "rating", PREDICTIONS["rating"].columns["rating"], Value("float32")
    usage = "predictions: one rating an example.\n    references: the ratings given."


class Text(_Module):
    """ROUGE F-measure without stemming, averaged over examples; an empty text scores 0."""

    column, kind, feature = "text", pl.String, Value("string")
    usage = "predictions: one text an example.\n    references: the texts written."


_FAMILIES: dict[str, type[_Module]] = {"ranking": Ranking, "selection": Selection, "rating": Rating, "text": Text}


def load_metric(name: str, **options: Any) -> evaluate.Metric:
    """The metric as an `evaluate` module.

    Args:
        name: one of `metrics.spec.METRICS`, except image metrics, which need a catalogue of pictures.
        **options: passed on to `evaluate.Metric` (`cache_dir`, `keep_in_memory`, `experiment_id`, `num_process`, ...).

    Raises:
        UnknownNameError: there is no such module.
    """
    known = [spec.name for spec in METRICS.values() if spec.answer_kind in _FAMILIES]
    if name not in known:
        raise UnknownNameError("metric", name, known)
    return _FAMILIES[METRICS[name].answer_kind](config_name=name, **options)
