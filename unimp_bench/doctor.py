"""What this machine has, and what each missing piece disables. Nothing here touches the network or changes anything."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal

from unimp_bench import hub
from unimp_bench.errors import ConfigError
from unimp_bench.metrics import wordnet
from unimp_bench.places import Home
from unimp_bench.runners import registry

_PACKAGE = "unimp-bench"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONAL = {  # in no extra, used where present
    "torch": "runners that train on tensors, CLIP, BERTScore",
    "transformers": "CLIP and BERTScore, runners on language models",
    "torchmetrics": "its column of `parity`",
    "pytrec_eval-terrier": "its column of `parity`",
    "recbole": "its column of `parity`, RecBole's runners",
}
_LOW_DISK, _LOW_MEMORY = 5e9, 2e9  # bytes below which a build of a paper's size is likely to stop
_SECONDS = 10


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    `status`: "ok"; "absent", where something optional is; "broken", where the toolkit itself lacks what it needs.
    `without`: what cannot be done without it, empty where all is well.
    """

    name: str
    status: Literal["ok", "absent", "broken"]
    found: str
    without: str = ""


def examine(home: Home) -> list[Finding]:
    """Look at everything, the toolkit's own needs first."""
    return [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        *_packages(),
        *_optional(),
        *_runners(),
        _cpu(),
        _memory(),
        _disk(home.root),
        _gpu(),
        *_torch_gpu(),
        _wordnet(),
        *_models(home),
        *_browser(),
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements() -> dict[str, list[str]]:
    """Names of required packages by extra, "" for what is always needed."""
    found: dict[str, list[str]] = {}
    for line in metadata(_PACKAGE).get_all("Requires-Dist") or ():
        name, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if name:
            found.setdefault(extra[1] if extra else "", []).append(name[1])
    return found


def _packages() -> Iterator[Finding]:
    yield Finding(_PACKAGE, "ok", version(_PACKAGE))
    needed = _requirements()
    for name in needed.pop("", []):
        present = _version(name)
        without = "" if present else "unimp-bench itself; install it again"
        yield Finding(name, "ok" if present else "broken", present or "not installed", without)
    for extra, names in sorted(needed.items()):
        absent = [name for name in names if _version(name) is None]
        there = [f"{name} {_version(name)}" for name in names if name not in absent]
        without = f"what needs {', '.join(absent)}: pip install '{_PACKAGE}[{extra}]'" if absent else ""
        yield Finding(f"extra {extra}", "absent" if absent else "ok", ", ".join(there) or "nothing of it", without)


def _optional() -> Iterator[Finding]:
    for name, use in _OPTIONAL.items():
        present = _version(name)
        yield Finding(name, "ok" if present else "absent", present or "not installed", "" if present else use)


def _runners() -> Iterator[Finding]:
    """Registered runners that cannot be loaded, one by one, and how many can."""
    known = registry.found()
    broken: list[Finding] = []
    for name in known:
        try:
            registry.runner_class(name)
        except ConfigError as error:
            broken.append(Finding(f"runner {name}", "absent", str(error), f"--model {name}"))
    yield Finding("runners", "ok", f"{len(known) - len(broken)} of {len(known)} can be loaded")
    yield from broken


def _cpu() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("CPU", "ok", f"{usable} of {os.cpu_count()} cores usable, {platform.machine()}")


def _memory() -> Finding:
    known = _meminfo()
    if known is None:
        return Finding("memory", "absent", "unknown on this system", "nothing; watch it yourself")
    total, free = known
    limit = _limit()
    if limit is not None and limit < total:
        total, free = limit, min(free, limit)
    without = "builds and runs of a paper's size" if free < _LOW_MEMORY else ""
    return Finding("memory", "absent" if without else "ok", f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free", without)


def _meminfo() -> tuple[int, int] | None:
    """Bytes in all and free, where the system says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        size = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return size["MemTotal"], size["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _limit() -> int | None:
    """Bytes that a container allows, where there is such a limit."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no such file, or the word `max`
        return None


def _disk(root: Path) -> Finding:
    here = next(path for path in (root.resolve(), *root.resolve().parents) if path.exists())
    usage = shutil.disk_usage(here)
    without = "a build of a paper's size (some 20 GB with pictures)" if usage.free < _LOW_DISK else ""
    if not os.access(here, os.W_OK):
        without = "everything that writes; choose another --home"
    found = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free at {here}"
    return Finding("disk", "absent" if without else "ok", found, without)


def _asked(command: list[str]) -> str | None:
    """What a program says, or None where it is not there or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603
            [program, *command[1:]], capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(done.stdout.split("\n")).strip("; ")


def _gpu() -> Finding:
    found = _asked(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    if found:
        return Finding("GPU", "ok", found)
    said = "nvidia-smi fails" if shutil.which("nvidia-smi") else "no nvidia-smi"
    return Finding("GPU", "absent", said, "training of large models in bearable time")


def _torch_gpu() -> Iterator[Finding]:
    """Whether torch sees the GPU; asked in another process, for torch takes long to import and longer to forget."""
    if _version("torch") is None:
        return
    code = "import torch; print(torch.cuda.is_available(), torch.version.cuda)"
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=6 * _SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        yield Finding("torch on GPU", "absent", "torch cannot be imported", "everything that needs torch")
        return
    good, _, cuda = done.stdout.strip().partition(" ")
    seen = good == "True"
    yield Finding("torch on GPU", "ok" if seen else "absent", f"CUDA {cuda}", "" if seen else "training on a GPU")


def _wordnet() -> Finding:
    place = wordnet.find(None)
    if place:
        return Finding("WordNet", "ok", str(place))
    return Finding("WordNet", "absent", "in none of the usual places", "meteor; meteor_exact_stem is computed instead")


def _models(home: Home) -> Iterator[Finding]:
    """Where the models of BERTScore and CLIP stand; a hub name counts where the hub's cache has it."""
    given = hub.settings(home.models)
    for name, metrics in (("bertscore", "bertscore"), ("clip", "clip_text_image, clip_image_image")):
        place, why = hub.place(home.models, name, given, fetch=False)
        reason = hub.unusable(place) if place is not None else None
        if place is not None and reason is not None:
            why = f"{place.name} {reason}"
            place = None
        yield Finding(f"model of {name}", "ok" if place else "absent", str(place or why), "" if place else metrics)


def _browser() -> Iterator[Finding]:
    program = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    said = _asked([program, "--version"]) if program else None
    without = "" if program else "browser tests of the report; the report itself opens anywhere"
    yield Finding("browser", "ok" if program else "absent", said or program or "no chromium or chrome", without)
