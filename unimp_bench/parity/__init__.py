"""The same random answers through our metrics and through every independent library that is installed.

A line compares one of our numbers with a library's: value by value of single examples where the library gives them,
else the number of the whole set. Rankings come from scores full of ties, which our ranking routine orders once; every
library is given the order that results, for what they do with ties differs and is no metric's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from unimp_bench.parity import pictures, rankings, ratings, selections, texts
from unimp_bench.parity.samples import Sample, sample
from unimp_bench.progress import Progress, Silent

TOLERANCE = 1e-9
Check = tuple[str, "float | NDArray[np.float64]", float]  # our metric's name, their number or numbers, tolerance


@dataclass(frozen=True)
class Line:
    """One metric beside one library; `difference` is the largest over what was compared."""

    library: str
    metric: str
    compared: str  # "examples" or "set"
    ours: float
    theirs: float
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance; NaN never is."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Absent:
    """A library that could not be asked, and why."""

    library: str
    reason: str


# What is asked, by the module that must be importable.
LIBRARIES: dict[str, tuple[str, Callable[[Sample], Iterator[Check]]]] = {
    "ranx": ("ranx", rankings.by_ranx),
    "scikit-learn rankings": ("sklearn.metrics", rankings.by_sklearn),
    "pytrec_eval": ("pytrec_eval", rankings.by_pytrec_eval),
    "RecBole": ("recbole.evaluator.metrics", rankings.by_recbole),
    "scikit-learn ratings": ("sklearn.metrics", ratings.by_sklearn),
    "torchmetrics ratings": ("torchmetrics", ratings.by_torchmetrics),
    "scikit-learn selections": ("sklearn.metrics", selections.by_sklearn),
    "rouge_score": ("rouge_score.rouge_scorer", texts.by_rouge_score),
    "sacrebleu": ("sacrebleu", texts.by_sacrebleu),
    "nltk": ("nltk.translate", texts.by_nltk),
    "nltk with WordNet": ("nltk.corpus", texts.by_nltk_with_wordnet),
    "scikit-learn pictures": ("sklearn.metrics.pairwise", pictures.by_sklearn),
    "scipy": ("scipy.linalg", pictures.by_scipy),
    "torchmetrics pictures": ("torchmetrics.image", pictures.by_torchmetrics),
}


def compare(seed: int = 0, progress: Progress | None = None) -> tuple[list[Line], list[Absent]]:
    """Ask every library; what is not installed, or lacks its data, is named with the reason."""
    progress = progress or Silent()
    drawn = sample(seed)
    lines: list[Line] = []
    absent: list[Absent] = []
    progress.start("asking libraries", len(LIBRARIES), "libraries")
    for library, (module, ask) in LIBRARIES.items():
        try:
            import_module(module)
            checks = list(ask(drawn))
        except (ImportError, AttributeError, LookupError) as error:  # old packages fall over new numpy by attributes
            absent.append(Absent(library, (str(error).strip().splitlines() or ["cannot be imported"])[0][:120]))
        else:
            lines += [_line(library, drawn, *check) for check in checks]
        progress.advance()
    progress.finish()
    return lines, absent


def _line(library: str, drawn: Sample, metric: str, theirs: float | NDArray[np.float64], tolerance: float) -> Line:
    values = drawn.ours(metric)
    if isinstance(theirs, np.ndarray):
        gap = float(np.abs(values - theirs).max())
        return Line(library, metric, "examples", float(values.mean()), float(theirs.mean()), gap, tolerance)
    ours = drawn.aggregate(metric)
    return Line(library, metric, "set", ours, float(theirs), abs(ours - float(theirs)), tolerance)
