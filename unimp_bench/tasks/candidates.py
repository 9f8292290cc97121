"""Negatives of selection: drawn by key, so they depend on an example's id, the seed and the rules only.

Unusual: draws are rejected and repeated for all examples of a chunk at once, slot by slot. Each attempt is a hash of
(example, slot, pool, attempt), so results are the same in one chunk or in many. Of hard negatives a drawn half comes
from anywhere: if all were near to a positive, the candidates without a neighbour would be the positives.

Shapes: examples, items = catalogue rows, width = most negatives of an example; -1 pads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.errors import ConfigError
from unimp_bench.keyed import Keys, mix, uniform
from unimp_bench.tasks.histories import Indices, Mask

HARDNESS = ("random", "same_category", "same_brand")
_NEAR = 0.5  # share of the slots that look for a hard negative first
_ATTEMPTS = 24  # a pool that refuses this often is nearly used up: go on to the wider one
_COIN = 0xC0174  # sets the draw of near or anywhere apart from the draws of items
_BLOCK = 2_000_000  # cells looked at together when a whole side of the catalogue is searched


@dataclass(frozen=True)
class Pool:
    """Items by group: `group` `(items,)` (-1: none), whose members are `members[start : start + size]`."""

    group: Indices
    start: Indices
    size: Indices
    members: Indices

    @classmethod
    def by(cls, key: pl.Series) -> Pool:
        """Group items of equal key; a null key belongs to no group."""
        group = (key.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
        members = np.argsort(group, kind="stable")
        members = members[group[members] >= 0]
        size = np.bincount(group[group >= 0], minlength=1)
        return cls(group, np.cumsum(size) - size, size, members)


@dataclass(frozen=True)
class Pools:
    """Where negatives come from: `levels` from the nearest to the whole side of the catalogue.

    `picture` `(items,)` numbers equal pictures alike (-1: no picture).
    """

    levels: tuple[Pool, ...]
    picture: Indices

    @classmethod
    def of(cls, items: pl.DataFrame, new_domains: frozenset[str], hardness: str) -> Pools:
        """Pools of a catalogue (`schemas.ITEMS`, in catalogue order).

        Raises:
            ConfigError: unknown hardness.
        """
        if hardness not in HARDNESS:
            raise ConfigError(f"unknown hardness '{hardness}'; known: {', '.join(HARDNESS)}")
        side = pl.col("domain").is_in(sorted(new_domains)).cast(pl.String)
        path = pl.col("categories")
        leaf = pl.when(path.list.len() > 0).then(pl.concat_str(side, path.list.join("\x1f"), separator="\x1e"))
        above = path.list.head(path.list.len().cast(pl.Int64) - 1)
        parent = pl.when(path.list.len() > 1).then(pl.concat_str(side, above.list.join("\x1f"), separator="\x1e"))
        brand = pl.concat_str(side, pl.col("brand"), separator="\x1e")
        keys = {"random": [side], "same_category": [leaf, parent, side], "same_brand": [brand, side]}[hardness]
        levels = tuple(Pool.by(items.select(key.alias("key"))["key"]) for key in keys)
        picture = (items["image_id"].rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
        return cls(levels, picture)


@dataclass(frozen=True)
class Draw:
    """What the negatives of some examples must avoid.

    `keys` `(examples,)`; `positives` `(examples, most)` padded at the end; `user` `(examples,)`; `seen` holds
    `user * items + item` of every interaction that may be known, ascending.
    """

    pools: Pools
    keys: Keys
    positives: Indices
    user: Indices
    seen: Indices

    def _admissible(self, examples: Indices, items: Indices, chosen: Indices) -> Mask:
        """Whether `items` may be a negative of `examples` (equal shapes), beside what was `chosen` before."""
        code = self.user[examples] * len(self.pools.picture) + items
        place = np.minimum(np.searchsorted(self.seen, code), max(len(self.seen) - 1, 0))
        fine: Mask = self.seen[place] != code if len(self.seen) else np.ones(code.shape, dtype=bool)
        for column in range(self.positives.shape[1]):
            positive = self.positives[examples, column]
            picture = np.where(positive >= 0, self.pools.picture[positive], -1)
            fine &= (items != positive) & ((picture < 0) | (picture != self.pools.picture[items]))
        for column in range(chosen.shape[1]):
            fine &= items != chosen[examples, column]
        return fine

    def negatives(self, n_candidates: int) -> Indices:
        """Negatives `(examples, n_candidates - 1)` that fill up the positives to `n_candidates`.

        Fewer only where the whole side of the catalogue holds no other admissible item.
        """
        count = (self.positives >= 0).sum(axis=1)
        chosen = np.full((len(self.keys), n_candidates - 1), -1, dtype=np.int64)
        for slot in range(n_candidates - 1):
            waiting = np.flatnonzero(n_candidates - count > slot)
            anchor = self.positives[waiting, slot % count[waiting]]  # every positive gets negatives near to it
            keys = mix(self.keys[waiting], slot)
            for depth, pool in enumerate(self.pools.levels):
                for attempt in range(_ATTEMPTS):
                    group = pool.group[anchor]
                    tries = (group >= 0) & (pool.size[group] > 1)
                    if pool is not self.pools.levels[-1]:
                        tries &= uniform(mix(keys, _COIN)) < _NEAR
                    tried = np.flatnonzero(tries)
                    if not tried.size:
                        break
                    share = uniform(mix(keys[tried], depth * _ATTEMPTS + attempt))
                    offset = (share * pool.size[group[tried]]).astype(np.int64)
                    item = pool.members[pool.start[group[tried]] + offset]
                    fine = self._admissible(waiting[tried], item, chosen[:, :slot])
                    chosen[waiting[tried[fine]], slot] = item[fine]
                    left = np.ones(len(waiting), dtype=bool)
                    left[tried[fine]] = False
                    waiting, anchor, keys = waiting[left], anchor[left], keys[left]
            self._search(waiting, anchor, keys, chosen, slot)
        return chosen

    def _search(self, waiting: Indices, anchor: Indices, keys: Keys, chosen: Indices, slot: int) -> None:
        """Look through the whole side for examples that found nothing; the admissible item of least key is theirs."""
        pool = self.pools.levels[-1]
        for group in np.unique(pool.group[anchor]):
            members = pool.members[pool.start[group] : pool.start[group] + pool.size[group]]
            rows = np.flatnonzero(pool.group[anchor] == group)
            step = max(_BLOCK // len(members), 1)
            for block in (rows[i : i + step] for i in range(0, len(rows), step)):
                example = np.repeat(waiting[block][:, None], len(members), axis=1)
                item = np.repeat(members[None, :], len(block), axis=0)
                rank = mix(keys[block][:, None], members[None, :].astype(np.uint64))
                fine = self._admissible(example, item, chosen[:, :slot])
                rank = np.where(fine, rank, np.iinfo(np.uint64).max)
                best = np.argmin(rank, axis=1)
                chosen[waiting[block], slot] = np.where(fine.any(axis=1), members[best], -1)


def shuffled(keys: Keys, table: Indices) -> NDArray[np.int64]:
    """Each row of `table` `(examples, width)` ordered by a hash of (example, item); the padding goes last."""
    rank = mix(mix(keys, 0xC0FFEE)[:, None], np.maximum(table, 0).astype(np.uint64))
    rank = np.where(table >= 0, rank, np.iinfo(np.uint64).max)
    order: NDArray[np.int64] = np.argsort(rank, axis=1, kind="stable")
    return np.take_along_axis(table, order, axis=1)
