"""A whole synthetic shop as a folder: raw dumps, pictures, truth, and the manifest that says it is complete."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from filelock import FileLock

from unimp_bench.data.sources.synthetic import listings, truth
from unimp_bench.data.sources.synthetic.dump import write_dump
from unimp_bench.data.sources.synthetic.kinds import DEPARTMENTS
from unimp_bench.data.sources.synthetic.pictures import render
from unimp_bench.data.sources.synthetic.reviews import make_bank
from unimp_bench.data.sources.synthetic.sampling import draw_customers, draw_purchases
from unimp_bench.data.sources.synthetic.world import GENERATOR_VERSION, SIZES, World, make_world
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.progress import Progress
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest


def write_shop(folder: Path, size: str, seed: int, progress: Progress) -> None:
    """Write a shop of one of `SIZES`, or find it written.

    The folder holds `reviews_<Official>_5.json.gz` and `meta_<Official>.json.gz` a domain, `images/<asin>.jpg` and
    `truth/`. It appears whole or not at all; two processes that want the same folder take turns.

    Raises:
        UnknownNameError: no such size.
        ConfigError: the folder holds something else.
    """
    if size not in SIZES:
        raise UnknownNameError("size of a synthetic shop", size, SIZES)
    request = {"generator_version": GENERATOR_VERSION, "size": size, "seed": seed}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            found = read_manifest(folder)
            if found is not None and dict(found.request) == request:
                return
            raise ConfigError(
                f"{folder} holds something else than shop '{size}' of seed {seed}; choose another folder or remove it"
            )
        draft = folder.with_name(f".{folder.name}.draft")
        if draft.exists():
            shutil.rmtree(draft)  # a generation that was killed
        draft.mkdir()
        begun = time.monotonic()
        rows = _fill(draft, size, seed, progress)
        seconds = {"generate": round(time.monotonic() - begun, 3)}
        manifest = Manifest(
            "synthetic", digest(request), request, outputs=hash_outputs(draft), rows=rows, seconds=seconds
        )
        manifest.write(draft)
        draft.rename(folder)


def _fill(folder: Path, size: str, seed: int, progress: Progress) -> dict[str, int]:
    world = make_world(size, seed)
    customers = draw_customers(world)
    bank = make_bank()
    progress.start("synthetic purchases")
    bought = {held_out: draw_purchases(world, customers, held_out, progress.advance) for held_out in (False, True)}
    progress.finish()
    rows = write_dump(folder, world, customers, bank, bought, progress)
    rows["pictures"] = _write_pictures(folder / "images", world, progress)
    truth.write(truth.Truth(world, customers, bank), folder / "truth")
    return rows


def _write_pictures(folder: Path, world: World, progress: Progress) -> int:
    size = SIZES[world.size]
    numbers = [i for i, item in enumerate(world.item_ids) if listings.has_picture(item)]
    numbers = sorted(numbers, key=lambda i: world.item_ids[i])[: size.pictures]
    folder.mkdir()
    progress.start("synthetic pictures", len(numbers), "pictures")
    for i in numbers:
        department, kind = world.category_kinds[i // world.each]
        shape = DEPARTMENTS[department].kinds[kind].shape
        item = world.item_ids[i]
        (folder / f"{item}.jpg").write_bytes(render(item, shape, int(world.style[i]), size.picture_pixels))
        progress.advance()
    progress.finish()
    return len(numbers)
