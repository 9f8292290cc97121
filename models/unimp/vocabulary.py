"""Ids beyond text, built directly beside the tokenizer: 120,000 items cost it nothing.

    0 .. T-1     text, as the tokenizer has it
    T ..         <image> <|endofchunk|> <answer> <PAD>
                 rate_1 .. rate_5
                 s_0 .. s_{C-1}
                 img_0 .. img_{K-1}
                 item_0 .. item_{n-1}           (atomic)   or   levels x codebook   (semantic)

Items come last, so that a grown catalogue changes no other id. Text of users is encoded by the tokenizer alone and can
therefore never hold one of these ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimp.config import RATINGS, UnimpConfig
from unimp.errors import CheckpointError

IGNORED = -100  # label of a position that is not learned
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """Where each kind of id begins.

    Args:
        text: how many text ids there are; id 0 opens and closes every sequence.
        candidates: choice ids.
        codes: picture codes.
        items: items of the catalogue.
        levels: ids an item has, 1 if atomic.
        codebook: codes a level; unused if atomic.
        semantic: codes `(items, levels)` of semantic ids; None if atomic.
    """

    text: int
    candidates: int
    codes: int
    items: int
    levels: int = 1
    codebook: int = 0
    semantic: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, config: UnimpConfig, semantic: NDArray[np.int64] | None = None) -> Vocabulary:
        """The vocabulary that a model was made for.

        Raises:
            CheckpointError: semantic codes that do not fit the configuration.
        """
        wanted = (config.items, config.item_levels) if config.item_levels > 1 else None
        if (semantic.shape if semantic is not None else None) != wanted:
            found = "none" if semantic is None else str(semantic.shape)
            raise CheckpointError(f"semantic ids are {found}, the model was made for {wanted}; make them again")
        return cls(
            config.text_ids,
            config.candidates,
            config.image_codes,
            config.items,
            config.item_levels,
            config.codebook,
            semantic,
        )

    @property
    def end(self) -> int:
        """Id that opens and closes a sequence (`<|endoftext|>` of GPT-NeoX)."""
        return 0

    @property
    def image(self) -> int:
        """`<image>`."""
        return self.text

    @property
    def chunk_end(self) -> int:
        """`<|endofchunk|>`."""
        return self.text + 1

    @property
    def answer(self) -> int:
        """`<answer>`."""
        return self.text + 2

    @property
    def pad(self) -> int:
        """`<PAD>`."""
        return self.text + 3

    def rate(self, stars: int) -> int:
        """Id of a whole rating 1-5."""
        return self.text + 4 + min(max(stars, 1), RATINGS) - 1

    @property
    def rates(self) -> range:
        """Ids of the ratings 1 to 5."""
        return range(self.text + 4, self.text + 4 + RATINGS)

    @property
    def choices(self) -> range:
        """Ids of the candidates' labels."""
        return range(self.rates.stop, self.rates.stop + self.candidates)

    @property
    def pictures(self) -> range:
        """Ids of the picture codes."""
        return range(self.choices.stop, self.choices.stop + self.codes)

    @property
    def item_ids(self) -> range:
        """Ids that items are made of."""
        return range(self.pictures.stop, self.pictures.stop + self.item_rows)

    @property
    def item_rows(self) -> int:
        """How many ids items are made of."""
        return self.items if self.levels == 1 else self.levels * self.codebook

    @property
    def size(self) -> int:
        """All ids."""
        return self.item_ids.stop

    @property
    def never_generated(self) -> tuple[int, ...]:
        """Ids that no answer may hold."""
        return (self.image, self.chunk_end, self.answer, self.pad)

    def item(self, index: int) -> list[int]:
        """The ids that name an item, `levels` of them."""
        start = self.item_ids.start
        if self.semantic is None:
            return [start + index]
        return [start + level * self.codebook + int(code) for level, code in enumerate(self.semantic[index])]

    def items_named(self, indices: Sequence[int]) -> Ids:
        """Ids of items `(n, levels)`."""
        rows = np.asarray(indices, dtype=np.int64)
        if self.semantic is None:
            return rows[:, None] + self.item_ids.start
        return self.semantic[rows] + self.item_ids.start + np.arange(self.levels) * self.codebook
