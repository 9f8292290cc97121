"""Noise variants: other views of a built dataset's items that share everything else with it.

The draw of what is lost has a fixed seed: equal rates lose the same values whatever the seed of the split.
"""

from __future__ import annotations

from unimp_bench import tables
from unimp_bench.data import noise
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.places import remove
from unimp_bench.progress import Progress
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest, sha256
from unimp_bench.schemas import ITEMS


def write_variant(dataset: Dataset, kind: str, rate: float, progress: Progress) -> str:
    """Write a noise variant of the items beside a built dataset, or find it there; returns its name."""
    name = noise.variant_name(kind, rate)
    folder = dataset.folder / "variants" / name
    asked = {"kind": kind, "rate": rate, "dataset": dataset.manifest.id}
    present = read_manifest(folder)
    if present and present.id == digest(asked):
        return name
    if kind == "NV" and not dataset.catalogue(CLEAN).images:
        raise ConfigError(f"{dataset.name} has no pictures to exchange; NV needs pictures")
    remove(folder)  # what a killed writer or another request left
    clean = tables.read(dataset.folder / "visible/items.parquet", ITEMS)
    tables.write(noise.apply(clean, kind, rate), folder / "items.parquet", ITEMS)
    progress.say(f"variant {name}: {folder}")
    inputs = {"visible/items.parquet": sha256(dataset.folder / "visible/items.parquet")}
    Manifest("variant", digest(asked), asked, inputs=inputs, outputs=hash_outputs(folder)).write(folder)
    return name
