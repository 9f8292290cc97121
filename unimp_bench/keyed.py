"""Draws that depend on *what* is drawn for, never on row order, thread count or library version.

A draw is a keyed hash of an id. Changing the seed changes every draw; adding a user leaves the draws of all others as
they were. Strings are hashed once per distinct value by BLAKE2b, pairs are mixed by splitmix64.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def _secret(salt: tuple[str | int, ...]) -> bytes:
    return blake2b("/".join(map(str, salt)).encode(), digest_size=32).digest()


def _key(text: str, secret: bytes) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=secret).digest(), "big")


def string_key(text: str, *salt: str | int) -> int:
    """64-bit key of one string under a salt."""
    return _key(text, _secret(salt))


def string_keys(values: pl.Series, *salt: str | int) -> Keys:
    """64-bit keys `(rows,)` of a string column; each distinct value is hashed once. Nulls are not allowed."""
    secret = _secret(salt)
    distinct = values.unique().sort()
    table = np.fromiter((_key(v, secret) for v in distinct.to_list()), dtype=np.uint64, count=len(distinct))
    codes = (values.rank("dense") - 1).cast(pl.Int64).to_numpy()
    keys: Keys = table[codes]
    return keys


def mix(left: Keys, right: Keys | int) -> Keys:
    """One key of two, by the splitmix64 finaliser (Steele, Lea & Flood 2014); not symmetric."""
    with np.errstate(over="ignore"):
        z = left * np.uint64(0x9E3779B97F4A7C15) + np.asarray(right, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Keys = z ^ (z >> np.uint64(31))
    return mixed


def uniform(keys: Keys) -> NDArray[np.float64]:
    """Keys as numbers `(rows,)` in [0, 1)."""
    return (keys >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def index_of(ids: pl.Series) -> NDArray[np.int32]:
    """`item_index`: rank of the id's hash under a fixed key, so it says nothing about popularity, time or seed."""
    order = np.argsort(string_keys(ids, "item_index"), kind="stable")
    ranks = np.empty(len(ids), dtype=np.int32)
    ranks[order] = np.arange(len(ids), dtype=np.int32)
    return ranks
