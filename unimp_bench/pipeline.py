"""`build`: raw shop data in, a dataset folder out, whole or not at all.

All work happens in a folder of its own that takes the dataset's name only at the very end. Stages that cost much leave
their outcome there, so the same command after a kill goes on; what it then writes is what an undisturbed build writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from unimp_bench import audit, cards, tables
from unimp_bench.config import BuildConfig, write_toml
from unimp_bench.data import explanations, images, noise, sentires
from unimp_bench.data.canonical import Canonical, canonical
from unimp_bench.data.drops import DropLog
from unimp_bench.data.opening import open_source
from unimp_bench.data.sources.base import Source
from unimp_bench.dataset import Dataset
from unimp_bench.describe import describe, split_hash
from unimp_bench.errors import IncompleteError
from unimp_bench.keyed import index_of
from unimp_bench.places import Home, atomic, clear, remove, sweep
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest
from unimp_bench.requests import Request, input_hashes
from unimp_bench.schemas import DROPS, IMAGES, INTERACTIONS, ITEMS, RAW_ITEMS, SEALED_INTERACTIONS, Table, conform
from unimp_bench.variants import write_variant
from unimp_bench.writing import write_tasks

T = TypeVar("T")

_WORK_ITEMS = Table("raw_items", 1, ("item_id",), RAW_ITEMS)
_PICTURES_A_FILE = 8192
_REBUILD = "add --force to build it anew, or --name to keep both"


def build(home: Home, request: Request, *, force: bool = False, progress: Progress | None = None) -> Dataset:
    """Build a dataset, or find it built.

    An equal request is a no-op; another request for the same name is refused without `force`.

    Raises:
        UnimpBenchError: what, where, what to do.
    """
    progress = progress or Silent()
    config = request.config.resolved()
    for kind, rate in request.noise:
        noise.variant_name(kind, rate)  # a wrong kind or rate is said before hours of work
    with home.locked("dataset", request.name):
        source = open_source(request.source, request.places)
        inputs = input_hashes(source, request, progress)
        asked = request.asked(config, inputs)
        build_id = digest(asked)
        folder = home.dataset(request.name)
        present = read_manifest(folder)
        if present and present.id == build_id and not force:
            progress.say(f"{request.name} is built already ({folder})")
        else:
            if present and not force:
                raise IncompleteError(f"{folder} was built by another request; {_REBUILD}")
            if folder.exists() and present is None:
                raise IncompleteError(f"{folder} is there but no dataset; move it away or choose another --name")
            work = home.building(request.name, build_id)
            if read_manifest(work) is None:  # else it was killed between its last file and its name
                _build(work, source, request, config, build_id, asked, inputs, progress)
            remove(folder)
            work.rename(folder)
            clear(home, request.name)
        dataset = Dataset.open(home, request.name)
        for kind, rate in request.noise:
            write_variant(dataset, kind, rate, progress)
    return dataset


def _build(
    work: Path,
    source: Source,
    request: Request,
    config: BuildConfig,
    build_id: str,
    asked: dict[str, Any],
    inputs: dict[str, str],
    progress: Progress,
) -> None:
    """Fill the work folder, manifest last."""
    work.mkdir(parents=True, exist_ok=True)
    sweep(work)
    seconds: dict[str, float] = {}
    timed = partial(_timed, seconds)
    state = work / ".state"
    whole = timed("interactions", lambda: _interactions(state, source, request, config, progress))
    raw_items = whole.items
    pictures = timed("images", lambda: _pictures(work, state, raw_items, source, request, progress))
    items = _final_items(raw_items, pictures)
    tables.write(items, work / "visible/items.parquet", ITEMS)
    interactions, extractor = timed("explanations", lambda: _explained(whole.interactions, request, progress))
    tables.write(interactions, work / "sealed/interactions.parquet", SEALED_INTERACTIONS)
    tables.write(interactions.filter(pl.col("split") == "train"), work / "visible/interactions.parquet", INTERACTIONS)
    tasks = timed("tasks", lambda: write_tasks(work, interactions, items, config, progress))
    if request.truth is not None:
        _copy_truth(request.truth, work / "sealed/truth")
    facts = {
        "source": request.source,
        "protocol": config.protocol,
        "seed": config.seed,
        "new_domains": list(config.new_domains),
        "split_hash": split_hash(interactions),
        **whole.facts,
        **tasks,
        **describe(interactions, items),
        "explanations": extractor,
    }
    write_toml(
        {"source": request.source, "domains": list(request.places.domains), **config.request()}, work / "config.toml"
    )
    manifest = Manifest(
        "dataset",
        build_id,
        asked,
        inputs=inputs,
        facts=facts,
        seconds=seconds,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    dataset = Dataset(request.name, work, manifest)
    checks = timed("audit", lambda: audit.audit(dataset, progress))
    audit.require(checks)
    with atomic(work / "README.md") as draft:
        draft.write_text(cards.card(dataset, checks))
    remove(state)
    rows = {str(p.relative_to(work)): tables.count(p) for p in sorted(work.rglob("*.parquet"))}
    Manifest(**{**manifest.__dict__, "outputs": hash_outputs(work), "rows": rows}).write(work)


def _timed(seconds: dict[str, float], name: str, stage: Callable[[], T]) -> T:
    start = time.perf_counter()
    outcome = stage()
    seconds[name] = round(time.perf_counter() - start, 2)
    return outcome


def _interactions(state: Path, source: Source, request: Request, config: BuildConfig, progress: Progress) -> Canonical:
    """The canonical frames, from the state folder if an earlier attempt got that far."""
    marker = state / "canonical.json"
    if not marker.is_file():
        drops = DropLog(request.keep_rejects)
        made = canonical(source, config, drops, progress)
        tables.write(made.interactions, state / "interactions.parquet", SEALED_INTERACTIONS)
        tables.write(made.items, state / "items.parquet", _WORK_ITEMS)
        tables.write(drops.frame(), state.parent / "drops.parquet", DROPS)
        if request.keep_rejects:
            with atomic(state.parent / "rejects.csv") as draft:
                drops.rejects().write_csv(draft)
        with atomic(marker) as draft:
            draft.write_text(json.dumps(made.facts))
    return Canonical(
        tables.read(state / "interactions.parquet", SEALED_INTERACTIONS),
        tables.read(state / "items.parquet", _WORK_ITEMS),
        json.loads(marker.read_text()),
    )


def _pictures(
    work: Path, state: Path, items: pl.DataFrame, source: Source, request: Request, progress: Progress
) -> pl.DataFrame:
    """Gather the pictures (resumable), write them in files of some thousands, and return status and id by item."""
    local = source.pictures(items["item_id"].to_list())
    found = images.gather(
        items.select("item_id", "image_urls"),
        local,
        fetch=request.fetch_images,
        work=state / "pictures",
        progress=progress,
        allow_private=request.allow_private,
    )
    ids = found["image_id"].drop_nulls().unique().sort().to_list()
    for number, start in enumerate(range(0, len(ids), _PICTURES_A_FILE)):
        with tables.writing(work / f"visible/images-{number:05d}.parquet", IMAGES) as writer:
            for frame in images.frames(state / "pictures", ids[start : start + _PICTURES_A_FILE]):
                writer.append(frame)
    return found


def _final_items(raw: pl.DataFrame, pictures: pl.DataFrame) -> pl.DataFrame:
    joined = raw.join(pictures, on="item_id", how="left", maintain_order="left")
    return conform(joined.with_columns(pl.Series("item_index", index_of(joined["item_id"]))), ITEMS.columns)


def _explained(
    interactions: pl.DataFrame, request: Request, progress: Progress
) -> tuple[pl.DataFrame, dict[str, str | int]]:
    """The interactions with their explanation sentence, and what chose it.

    The lexicon of features comes from all surviving reviews: it says what counts as a feature, no runner sees it, and
    so the sentences do not depend on the seed that draws the holdouts.
    """
    if request.explanations is not None:
        said = sentires.from_sentires(request.explanations, interactions, progress=progress)
        return said, {"extractor": "Sentires files, one sentence drawn by hash"}
    if interactions["review_text"].null_count() == interactions.height:
        return interactions, {}
    progress.say("choosing explanation sentences")
    features = explanations.mine_features(interactions["review_text"])
    found = explanations.extract(interactions["review_text"], features).alias("explanation")
    return interactions.with_columns(found), {"extractor": explanations.EXTRACTOR, "features": len(features)}


def _copy_truth(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        with atomic(target / file.name) as draft:
            draft.write_bytes(file.read_bytes())
