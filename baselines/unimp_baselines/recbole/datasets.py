"""Feeds as RecBole datasets, in memory: no atomic files are written, parsed, filtered or renumbered.

Sequential rows keep a place and a length in one flat array instead of a padded copy of their history; a batch's
windows are cut out when it is asked for. So memory grows with interactions, not with interactions x 50.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from unimp_baselines.recbole.requests import Rows

ATTRIBUTE = "class"  # the name that RecBole's feature models ask for by default


@dataclass(frozen=True)
class Arrays:
    """What `feed.Feed.write` kept; see there."""

    users: int
    items: int
    sequences: torch.Tensor  # (interactions,)
    sequence_starts: NDArray[np.int64]  # (users + 1,)
    valid_users: torch.Tensor
    valid_targets: torch.Tensor
    valid_histories: torch.Tensor
    valid_starts: NDArray[np.int64]
    attributes: torch.Tensor
    attribute_starts: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Arrays:
        """Read a feed."""
        with np.load(path) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        for name, value in values.items():
            if value.ndim == 0:
                values[name] = int(value)
            elif not name.endswith("starts"):
                values[name] = torch.from_numpy(value)
        return cls(**values)


def _declare(dataset: Any, feed: Arrays) -> None:
    dataset.set_field_property(dataset.uid_field, FeatureType.TOKEN, FeatureSource.USER_ID, 1)
    dataset.set_field_property(dataset.iid_field, FeatureType.TOKEN, FeatureSource.ITEM_ID, 1)
    dataset.field2id_token[dataset.uid_field] = np.arange(feed.users + 1)
    dataset.field2id_token[dataset.iid_field] = np.arange(feed.items + 1)
    dataset.user_feat = dataset.item_feat = None
    dataset.feat_name_list = ["inter_feat"]


class FedPairs(Dataset):  # type: ignore[misc]
    """Train pairs (user, item), for models without order."""

    item_features: dict[str, torch.Tensor]  # by modality, (items + 1, width); see `setup.dataset_of`

    def __init__(self, config: Any, feed: Arrays) -> None:
        self.feed = feed
        super().__init__(config)

    def _from_scratch(self) -> None:
        self._get_preset()
        self._get_field_from_config()
        _declare(self, self.feed)
        lengths = torch.from_numpy(np.diff(self.feed.sequence_starts))
        users = torch.repeat_interleave(torch.arange(1, self.feed.users + 1), lengths)
        self.inter_feat = Interaction({self.uid_field: users, self.iid_field: self.feed.sequences})

    def valid(self) -> FedPairs:
        """Validation pairs of users who have train rows."""
        known = self.feed.valid_users > 0
        users, items = self.feed.valid_users[known], self.feed.valid_targets[known]
        found: FedPairs = self.copy(Interaction({self.uid_field: users, self.iid_field: items}))
        return found


@dataclass(frozen=True)
class Windows:
    """Where each row's history stands: `flat[starts[k] : starts[k] + lengths[k]]`."""

    flat: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor

    def last(self, most: int) -> Windows:
        """Only the last `most` items of each."""
        kept = self.lengths.clamp(max=most)
        return Windows(self.flat, self.starts + self.lengths - kept, kept)

    def of(self, rows: torch.Tensor, width: int) -> torch.Tensor:
        """Histories `(rows, width)`, padded with 0 at the end."""
        place = torch.arange(width)
        index = self.starts[rows, None] + place
        inside = place < self.lengths[rows, None]
        return torch.where(inside, self.flat[torch.where(inside, index, 0)], 0)


class FedSequences(SequentialDataset):  # type: ignore[misc]
    """Train rows (user, history, next item), for models of sequences.

    With `trim`, a batch is as wide as its longest history, not as any: for models to which padding is nothing.
    """

    item_features: dict[str, torch.Tensor]  # by modality, (items + 1, width); see `setup.dataset_of`

    def __init__(self, config: Any, feed: Arrays, rows: Rows, copies: int = 1, *, trim: bool = False) -> None:
        self.feed, self.rows, self.copies, self.trim = feed, rows, copies, trim
        super().__init__(config)

    def _from_scratch(self) -> None:
        self._get_preset()
        self._get_field_from_config()
        _declare(self, self.feed)
        self.item_id_list_field = self.iid_field + self.config["LIST_SUFFIX"]
        source, length = FeatureSource.INTERACTION, self.max_item_list_len
        self.set_field_property(self.item_id_list_field, FeatureType.TOKEN_SEQ, source, length)
        self.set_field_property(self.item_list_length_field, FeatureType.TOKEN, source, 1)
        self._add_attributes()
        cut = next_rows if self.rows == "next" else whole_rows
        users, ends, lengths, targets = cut(self.feed.sequence_starts, self.max_item_list_len, self.copies)
        self._set(self.feed.sequences, users, ends - lengths, lengths, self.feed.sequences[targets])

    def _add_attributes(self) -> None:
        """Attribute numbers of each item `(items + 1, most)`, padded with 0."""
        if len(self.feed.attributes):
            starts = torch.from_numpy(self.feed.attribute_starts)
            lengths = starts.diff()
            table = Windows(self.feed.attributes, starts[:-1], lengths)
            width = int(lengths.max())
            rows = table.of(torch.arange(self.feed.items), width)
            padded = torch.cat([torch.zeros(1, width, dtype=rows.dtype), rows])
            self.set_field_property(ATTRIBUTE, FeatureType.TOKEN_SEQ, FeatureSource.ITEM, width)
            self.field2id_token[ATTRIBUTE] = np.arange(int(self.feed.attributes.max()) + 1)
            self.item_feat = Interaction({self.iid_field: torch.arange(self.feed.items + 1), ATTRIBUTE: padded})

    def _set(
        self,
        flat: torch.Tensor,
        users: torch.Tensor,
        starts: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor,
    ) -> None:
        self.windows = Windows(flat, starts, lengths)
        self.inter_feat = Interaction(
            {self.uid_field: users, self.iid_field: targets, self.item_list_length_field: lengths}
        )

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """A batch with its histories; attributes of targets are not joined to it, no model here reads them."""
        rows = torch.arange(len(self))[index] if isinstance(index, slice) else torch.as_tensor(index)
        batch = {name: self.inter_feat[name][rows] for name in self.inter_feat}
        longest = int(batch[self.item_list_length_field].max()) if self.trim and len(rows) else self.max_item_list_len
        batch[self.item_id_list_field] = self.windows.of(rows, longest)
        return Interaction(batch)

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """All train pairs as a sparse matrix `(users + 1, items + 1)`."""
        lengths = torch.from_numpy(np.diff(self.feed.sequence_starts))
        users = torch.repeat_interleave(torch.arange(1, self.feed.users + 1), lengths)
        pairs = Interaction({self.uid_field: users, self.iid_field: self.feed.sequences})
        return self._create_sparse_matrix(pairs, self.uid_field, self.iid_field, form, value_field)

    def valid(self) -> FedSequences:
        """Validation rows that have a history."""
        ends = torch.from_numpy(self.feed.valid_starts)
        lengths = ends.diff().clamp(max=self.max_item_list_len)
        rows = torch.nonzero(lengths).squeeze(1)
        found: FedSequences = self.copy(self.inter_feat)
        users, targets = self.feed.valid_users[rows], self.feed.valid_targets[rows]
        starts = ends[1:][rows] - lengths[rows]
        found._set(self.feed.valid_histories, users, starts, lengths[rows], targets)
        return found


Cut = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def next_rows(starts: NDArray[np.int64], most: int, copies: int = 1) -> Cut:
    """A row for every item of a sequence but its first: the `most` items before it are its history.

    Args:
        starts: `(users + 1,)` where each user's sequence begins.
        most: items of a history.
        copies: not used.

    Returns:
        User numbers, ends of histories in the flat array (exclusive), their lengths, places of targets; each `(rows,)`.
    """
    del copies
    lengths = np.diff(starts)
    users = np.repeat(np.arange(1, len(starts)), lengths)
    places = np.arange(starts[-1])
    before = places - np.repeat(starts[:-1], lengths)
    kept = before > 0
    before = np.minimum(before[kept], most)
    targets = torch.from_numpy(places[kept])
    return torch.from_numpy(users[kept]), targets, torch.from_numpy(before), targets


def whole_rows(starts: NDArray[np.int64], most: int, copies: int = 1) -> Cut:
    """Rows that hold whole sequences, in pieces of `most` counted from their ends; the target is a piece's last item.

    Takes and returns what `next_rows` does; every row comes `copies` times.
    """
    lengths = np.diff(starts)
    pieces = -(-lengths // most)
    users = np.repeat(np.arange(1, len(starts)), pieces)
    number = np.arange(len(users)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends = starts[1:][users - 1] - most * number
    begins = np.maximum(ends - most, starts[:-1][users - 1])
    parts = users, ends, ends - begins, ends - 1
    users_, ends_, lengths_, targets = (torch.from_numpy(np.tile(part, copies)) for part in parts)
    return users_, ends_, lengths_, targets


class AlikeRows(torch.utils.data.Sampler[int]):
    """Rows in random order, but such that those of one batch have histories of about one length.

    Rows are shuffled, sorted by length within pools of `_POOL` batches, and the batches shuffled. With `trim` a batch
    then holds little padding: a training epoch takes a half to a third of the time.
    """

    _POOL = 32

    def __init__(self, lengths: torch.Tensor, batch: int, generator: torch.Generator) -> None:
        self.lengths, self.batch, self.generator = lengths, batch, generator

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Row numbers, a batch after another; a last, smaller batch comes last."""
        order = torch.randperm(len(self), generator=self.generator)
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in torch.split(order, self._POOL * self.batch)]
        batches = [batch for pool in pools for batch in torch.split(pool, self.batch)]
        whole = [batch for batch in batches if len(batch) == self.batch]
        rest = [batch for batch in batches if len(batch) < self.batch]
        shuffled = [whole[k] for k in torch.randperm(len(whole), generator=self.generator).tolist()]
        for batch in [*shuffled, *rest]:
            yield from batch.tolist()
