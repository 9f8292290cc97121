"""Noisy views of a dataset's items: NT takes attribute values away, NV gives items another item's picture.

Both draw by keyed hashes, so an item's fate depends on its id, the seed and the rate alone, and a higher rate loses
everything that a lower one loses. What is not named here (ids, indices, order, statuses) is left as it was.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import keyed
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.schemas import ITEMS, conform

KINDS = ("NT", "NV")
_NAMED = ("title", "brand", "price_usd", "description")


def _check(kind: str, rate: float, seed: int) -> None:
    if kind not in KINDS:
        raise UnknownNameError("noise kind", kind, KINDS)
    if not 0 <= rate <= 1:  # false for NaN, too
        raise ConfigError(f"noise rate {rate} of {kind} is no share; give a number from 0 to 1")
    if seed < 0:
        raise ConfigError(f"noise seed {seed} of {kind} is negative; give 0 or more")


def variant_name(kind: str, rate: float, seed: int = 0) -> str:
    """Name of a variant, such as `NT-0.2`, or `NT-0.2-s1` with a seed other than 0.

    Raises:
        UnknownNameError: no such kind.
        ConfigError: rate outside 0 to 1, or negative seed.
    """
    _check(kind, rate, seed)
    return f"{kind}-{rate:.12g}" + (f"-s{seed}" if seed else "")


def parse(name: str) -> tuple[str, float, int]:
    """Kind, rate and seed of a variant's name.

    Raises:
        ConfigError: the name is none that `variant_name` gives.
    """
    found = re.fullmatch(r"(NT|NV)-([0-9.]+(?:e-[0-9]+)?)(?:-s([0-9]+))?", name)
    try:
        kind, rate, seed = (found[1], float(found[2]), int(found[3] or 0)) if found else ("", 0.0, 0)
    except ValueError:
        found = None
    if found is None or variant_name(kind, rate, seed) != name:
        raise ConfigError(f"'{name}' names no noise variant; a name is like NT-0.2, NV-0.2 or NT-0.2-s1")
    return kind, rate, seed


def apply(items: pl.DataFrame, kind: str, rate: float, seed: int = 0) -> pl.DataFrame:
    """A noisy view of items; columns of `schemas.ITEMS` in and out, rows in the order given.

    NT: title, brand, categories, price, description and every entry of `attributes` is lost with probability `rate`,
    each on its own. What is lost becomes null; category paths become empty lists.
    NV: `round(rate * n)` of the `n` items with a picture get the picture of another item, never one equal to their
    own as long as there are two different ones.

    Raises:
        UnknownNameError: no such kind.
        ConfigError: rate outside 0 to 1, or negative seed.
    """
    _check(kind, rate, seed)
    noisy = _without_values(items, rate, seed) if kind == "NT" else _with_other_pictures(items, rate, seed)
    return conform(noisy, ITEMS.columns)


def _without_values(items: pl.DataFrame, rate: float, seed: int) -> pl.DataFrame:
    base = keyed.string_keys(items["item_id"], "NT", seed)

    def lost(name: str) -> pl.Series:
        return pl.Series(keyed.uniform(keyed.mix(base, keyed.string_key(name, "NT"))) < rate)

    noisy = items.with_columns(
        *(pl.when(lost(name)).then(None).otherwise(pl.col(name)).alias(name) for name in _NAMED),
        # Cutting the list keeps a null null and turns a path into an empty one.
        pl.col("categories").list.head(pl.when(lost("categories")).then(0).otherwise(pl.col("categories").list.len())),
    )
    entries = (
        items.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), "attributes")
        .filter(pl.col("attributes").list.len() > 0)
        .explode("attributes")
        .with_columns(pl.col("attributes").struct.field("name").fill_null("").alias("name"))
        # Two values under one name are two draws.
        .with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).over("row", "name").alias("again"))
    )
    names = keyed.mix(
        keyed.string_keys(entries["name"], "NT", "attributes"), entries["again"].to_numpy().astype(np.uint64)
    )
    kept = keyed.uniform(keyed.mix(base[entries["row"].to_numpy()], names)) >= rate
    left = entries.filter(pl.Series(kept)).group_by("row", maintain_order=True).agg("attributes")
    rows = pl.DataFrame({"row": pl.arange(items.height, dtype=pl.UInt32, eager=True)})
    lists = rows.join(left, on="row", how="left", maintain_order="left")["attributes"]
    # `left` has no row for an item that lost all its entries; an item that had none stays as it was.
    had_some = items["attributes"].list.len().fill_null(0) > 0
    remaining = lists.fill_null(pl.Series([[]], dtype=lists.dtype))
    return noisy.with_columns(
        pl.when(had_some).then(remaining).otherwise(pl.col("attributes")).alias("attributes"),
    )


def _donors(codes: NDArray[np.int64], keys: keyed.Keys) -> NDArray[np.int64]:
    """For each of `n` items the place of another whose picture is another, or its own place where there is none.

    `codes` (n,) number the pictures. Items are laid in a ring, those of one picture side by side, pictures in a
    seeded order; everybody then looks as many places ahead as the commonest picture is long. That leaves its own
    picture unless one picture fills more than half of the ring; only then the places ahead lie on it again, and
    those items take turns among the others.
    """
    sizes = np.bincount(codes)
    # The seeded order of the pictures: by the least key of the items that show them.
    least = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, codes, keys)
    ring = np.lexsort((keys, codes, least[codes]))
    donors = np.empty(len(codes), dtype=np.int64)
    donors[ring] = np.roll(ring, -int(sizes.max()))
    same = np.flatnonzero(codes[donors] == codes)
    if len(same):
        others = ring[codes[ring] != codes[same[0]]]  # only one picture can fill more than half
        if len(others):
            donors[same] = others[(keys[same] % np.uint64(len(others))).astype(np.int64)]
        else:
            donors[same] = same
    return donors


def _with_other_pictures(items: pl.DataFrame, rate: float, seed: int) -> pl.DataFrame:
    shown = np.flatnonzero(items["image_id"].is_not_null().to_numpy())
    chosen_count = round(rate * len(shown))
    if chosen_count == 0:
        return items
    pictures = items["image_id"].gather(shown)
    ids = items["item_id"].gather(shown)
    codes = (pictures.rank("dense") - 1).cast(pl.Int64).to_numpy()
    donors = _donors(codes, keyed.string_keys(ids, "NV", "ring", seed))
    # Ties of a 64-bit hash are broken by the id, which the rows are sorted by.
    chosen = np.argsort(keyed.string_keys(ids, "NV", "chosen", seed), kind="stable")[:chosen_count]
    source = np.arange(items.height)
    source[shown[chosen]] = shown[donors[chosen]]
    return items.with_columns(items["image_id"].gather(source).alias("image_id"))
