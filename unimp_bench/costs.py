"""What systems cost in seconds; a fit counts once, however many runs share it, and trials that lost count too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimp_bench import trials
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, read_manifest


@dataclass
class Cost:
    """One system's, over all its runs. `trials` counts settings that were tried, 0 where there was no budget."""

    runner: str
    budget: dict[str, Any] | None
    runs: int = 0
    fits: dict[str, float] = field(default_factory=dict)
    trials: int = 0
    validate: float = 0.0
    predict: float = 0.0
    score: float = 0.0
    peak_megabytes: float = 0.0

    @property
    def fit(self) -> float:
        """Seconds of all fits."""
        return sum(self.fits.values())

    @property
    def seconds(self) -> float:
        """Of everything."""
        return self.fit + self.validate + self.predict + self.score


def costs(home: Home, folders: Sequence[Path]) -> list[Cost]:
    """The cost of every runner behind some finished runs, in the order of its first one.

    Raises:
        IncompleteError: a run's file cannot be read.
    """
    found: dict[str, Cost] = {}
    for folder in dict.fromkeys(folders):
        manifest = read_manifest(folder)
        if manifest is None:
            continue
        name = str(manifest.request["runner"])
        one = found.setdefault(name, Cost(name, manifest.request.get("budget")))
        one.runs += 1
        one.fits |= _fits(home, folder, manifest)
        one.trials = max(one.trials, int(manifest.facts.get("trials", 0)))
        one.validate += manifest.seconds.get("validate", 0.0)
        one.predict += manifest.seconds["predict"]
        one.score += manifest.seconds["score"]
        one.peak_megabytes = max(one.peak_megabytes, float(manifest.facts["peak_megabytes"]))
    return list(found.values())


def _fits(home: Home, folder: Path, manifest: Manifest) -> dict[str, float]:
    """Seconds by id of the fits that a run stands on, and of the trials that it did not choose."""
    made: dict[str, float] = {}
    for name in manifest.inputs:
        if name.startswith("fits/"):
            fit = read_manifest((home.root / name).parent)
            if fit is None:  # removed since: what the run said of all its fits
                return {manifest.id: manifest.seconds["fit"]}
            made[fit.id] = fit.seconds["fit"]
    if "trials.json" in manifest.outputs:
        tried: list[trials.Trial] = trials.read(folder / trials.NAME)["trials"]
        made |= {trial.fit or f"{manifest.id} {trial.trial}": trial.seconds for trial in tried}
    return made
