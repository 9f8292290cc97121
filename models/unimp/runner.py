"""UniMP as a runner of the benchmark: frames in, frames out. The only module here that knows unimp_bench and polars."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, ParamSpec, TypeVar

import polars as pl
import pyarrow as pa

from unimp import folders
from unimp.answering import Answering
from unimp.errors import UnimpError
from unimp.keeping import LOGS
from unimp.options import Options
from unimp.processes import Processes
from unimp.shop import Example, Items, Shop
from unimp.system import System
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError, NotLearnedError
from unimp_bench.progress import Progress, Silent, beside
from unimp_bench.runners.protocol import Context, ScoreBlock, TaskData
from unimp_bench.schemas import IMAGE

P = ParamSpec("P")
R = TypeVar("R")
_ROWS = 2000  # examples answered together
_MOST_SCORES = 100_000_000  # of a block of rankings: examples x items
_EXAMPLE = ["example_id", "user_id", "position", "cohort", "history", "query", "target_item_id", "candidates"]
_ANSWER = ["item_ids", "rating", "text"]


@dataclass
class UniMP(Options):
    """UniMP (Wei et al., ICLR 2024). Its parameters are the fields of `unimp.options.Options`."""

    _system: System | None = field(default=None, init=False, repr=False, compare=False)
    _folder: Path | None = field(default=None, init=False, repr=False, compare=False)
    _view: Catalogue | None = field(default=None, init=False, repr=False, compare=False)  # whose parts `_system` has
    _progress: Progress = field(default_factory=Silent, init=False, repr=False, compare=False)  # of what was learned

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"recommendation", "preference", "explanation", "selection", "search", "image_generation"}
    )
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain", "new_user", "new_domain"})
    version: ClassVar[int] = 7
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    budgeted: ClassVar[bool] = False  # its stages last as long as `effort` and the preset say
    examples_a_part: ClassVar[int] = _ROWS

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, in the toolkit's own words."""
        _in_one_line(super().__post_init__)()

    @property
    def device(self) -> str:
        """What it runs on."""
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

    @property
    def options(self) -> Options:
        """The parameters alone."""
        return Options(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Options)})

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Make all parts and train on every task at hand, in one process."""
        _alone()
        shop = shop_of(data)
        system = System(self.options, seed=context.seed)
        with _Told(context.progress) as told:
            _in_one_line(system.fit)(
                shop, context.scratch, report=told, record=getattr(context, "record", None), tasks=list(data)
            )
        stages = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in system.seconds.items())
        context.progress.say(f"unimp: {stages}")
        _tell_notes(system, context)
        self._system, self._folder, self._view = system, None, next(iter(data.values())).catalogue
        self._progress = context.progress

    def pretrain(self, data: Mapping[str, TaskData], folder: Path, context: Context) -> None:
        """Make what all variants share: tokenizer, tower, patch tokens, picture codes, a body that can read."""
        _alone()
        system = System(self.options, seed=context.seed)
        with _Told(context.progress) as told:
            _in_one_line(system.pretrain)(shop_of(data), folder, told)

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Learn the catalogue and the users of held-out domains, in the mode of `new_domain`."""
        _alone()
        shop = shop_of(data)
        catalogue = next(iter(data.values())).catalogue
        system = self._opened(catalogue, context)
        with _Told(context.progress) as told:
            _in_one_line(system.adapt)(shop, context.scratch, report=told, record=getattr(context, "record", None))
        _tell_notes(system, context)
        self._system, self._folder, self._progress = system, None, context.progress

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Answer examples, in blocks."""
        system = self._opened(view, context)
        if task not in system.tasks:
            raise NotLearnedError(f"unimp learned {', '.join(system.tasks)} only; run it with --set learn=all")
        index = view.index
        answering = Answering(system, seed=context.seed)
        rows = min(_ROWS, max(1, _MOST_SCORES // max(len(index), 1)))
        # A selection may be decided by scores of the whole catalogue, too (`decisions.py`).
        for block in examples.iter_slices(rows if task in ("recommendation", "search", "selection") else _ROWS):
            asked = folders.examples_of(block.select(_EXAMPLE).to_arrow(), index)
            yield _in_one_line(_answers)(answering, task, asked, view)
        if answering.dropped:
            context.progress.say(f"unimp: {answering.dropped} history items, the oldest of theirs, found no place")

    def save(self, folder: Path) -> None:
        """Write what was learned, and say where its losses can be looked at."""
        assert self._system is not None, "nothing was fitted"
        _in_one_line(self._system.save)(folder)
        if (logs := folder / LOGS).is_dir():
            self._progress.say(f"unimp: losses of every stage: tensorboard --logdir {logs}")

    def load(self, folder: Path) -> None:
        """Remember where it is; the catalogue to answer for is known when something is asked."""
        self._folder, self._system, self._view = folder, None, None

    def _opened(self, view: Catalogue, context: Context) -> System:
        """The system for a catalogue, kept while the same one is asked.

        Raises:
            ConfigError: it was fitted a moment ago, on another one; what it read of that is not read anew.
        """
        if self._system is None or not _same(self._view, view):
            assert self._folder is not None or self._system is not None, "nothing was fitted"
            if self._folder is None:
                raise ConfigError(
                    "unimp: this catalogue is another than the one that was learned; save and load the runner first"
                )
            self._system = _in_one_line(System.load)(self._folder, items_of(view), context.scratch)
        self._view = view
        return self._system


def _tell_notes(system: System, context: Context) -> None:
    """Say once what a user should know."""
    for note in system.notes:
        context.progress.say(f"unimp: {note}")
    system.notes.clear()


def _same(one: Catalogue | None, other: Catalogue) -> bool:
    """Whether two catalogues show the same; pictures are named by their bytes."""
    return one is other or (one is not None and one.text_fields == other.text_fields and one.items.equals(other.items))


def _alone() -> None:
    """A run of the benchmark is one process: its folders, records and answers have one writer."""
    if Processes.here().count > 1:
        raise ConfigError(
            "unimp: unimp-bench runs in one process; train with `torchrun -m unimp.train`, answer with "
            "`python -m unimp.predict`, score with `unimp-bench score`"
        )


def _answers(answering: Answering, task: str, asked: list[Example], view: Catalogue) -> pl.DataFrame | ScoreBlock:
    ids = [example.id for example in asked]
    if task in ("recommendation", "search"):
        return ScoreBlock(ids, answering.ranking(task, asked))
    if task == "preference":
        return pl.DataFrame({"example_id": ids, "rating": answering.ratings(asked)}, schema_overrides=_RATING)
    if task == "explanation":
        return pl.DataFrame({"example_id": ids, "text": answering.explanations(asked)})
    names = view.items["item_id"].to_list()
    if task == "selection":
        chosen, scores = answering.selections(asked)
        picked = [[names[e.candidates[k]] for k in places] for e, places in zip(asked, chosen, strict=True)]
        worth = [[float(s[k]) for k in places] for s, places in zip(scores, chosen, strict=True)]
        return pl.DataFrame({"example_id": ids, "item_ids": picked, "scores": worth}, schema_overrides=_CHOSEN)
    pictures = [None if p is None else {"bytes": p, "path": None} for p in answering.pictures(asked)]
    return pl.DataFrame({"example_id": ids, "image": pictures}, schema_overrides={"image": IMAGE})


_RATING = {"rating": pl.Float32}
_CHOSEN = {"item_ids": pl.List(pl.String), "scores": pl.List(pl.Float32)}


def items_of(catalogue: Catalogue) -> Items:
    """A catalogue in the model's terms."""
    return folders.items_of(catalogue.items.to_arrow(), catalogue.text_fields, catalogue.images)


def shop_of(data: Mapping[str, TaskData]) -> Shop:
    """What a fit may learn from, in the model's terms."""
    first = next(iter(data.values()))
    columns = _EXAMPLE + _ANSWER

    def table(frame: pl.LazyFrame) -> pa.Table:
        return frame.select(columns).collect().to_arrow()

    return folders.shop_of(
        items_of(first.catalogue),
        first.interactions.collect().to_arrow(),
        {task: table(one.train) for task, one in data.items()},
        {task: table(one.valid) for task, one in data.items()},
    )


class _Told:
    """Passes a stage's share of work on as a progress bar of a thousand parts."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.stage, self.done = progress, "", 0

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.stage:
            self.progress.finish()
        self.stage, self.done = "", 0

    def __call__(self, stage: str, share: float, words: str) -> None:
        if stage != self.stage:
            self._close()
            self.stage = stage
            self.progress.start(f"unimp: {stage}", 1000, "parts")
        now = int(share * 1000)
        if now > self.done:
            self.progress.advance(now - self.done)
            self.done = now
        beside(self.progress, words)


def _in_one_line(work: Callable[P, R]) -> Callable[P, R]:
    """The same function with the model's own errors as the toolkit's."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except UnimpError as error:
            raise ConfigError(f"unimp: {error}") from error

    return wrapped
