"""Words as pieces: text by a tokenizer, items, users, ratings and labels by tokens of their own.

Numbers of tokens: first the text's (`text_rows` of them), then the added ones:

    +0 picture  +1 item  +2 user  +3..7 ratings 1-5  +8.. labels s_0, s_1 ...  then digit pairs 00-99, then atomic items

An item is `item` and two or three pairs of digits (`numbering`), or one token if ids are atomic. P5 lets SentencePiece
cut `item_7391` as it happens; pairs with embeddings of their own make all ids equally long, so that no id begins
another, and no text of a shop can look like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unimp_baselines.t5 import numbering
from unimp_baselines.t5.prompts import Word

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # in this order in a tokenizer trained here, as in T5
RATINGS = (1, 2, 3, 4, 5)
_LABELS = 8  # where they begin
_MOST_PIECES = 48  # of one word of text: longer ones are an attack or a mistake


def trained(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `size` tokens; no text is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """All tokens of one model.

    `items` and `users` are ids in the order of their numbers; `text_rows` may be more than the tokenizer knows (T5
    pads its table).
    """

    tokenizer: Tokenizer
    text_rows: int
    items: tuple[str, ...]
    users: tuple[str, ...]
    labels: int
    atomic: bool
    _words: dict[str, Word] = field(default_factory=dict, repr=False, compare=False)
    _places: Mapping[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _numbers: Mapping[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the look-ups."""
        object.__setattr__(self, "_places", {item: k for k, item in enumerate(self.items)})
        object.__setattr__(self, "_numbers", {user: k for k, user in enumerate(self.users)})

    @property
    def picture(self) -> int:
        """The token that holds a place for a piece of a picture."""
        return self.text_rows

    @property
    def _digits(self) -> int:
        return self.text_rows + _LABELS + self.labels

    @property
    def added(self) -> int:
        """How many tokens are not text."""
        return _LABELS + self.labels + 100 + (len(self.items) if self.atomic else 0)

    def place(self, item: str) -> int | None:
        """Which number an item has, from 0."""
        return self._places.get(item)

    def item_pieces(self, place: int) -> tuple[int, ...]:
        """The tokens of the item in this place."""
        if self.atomic:
            return (self._digits + 100 + place,)
        width = numbering.pairs(len(self.items))
        return (self.text_rows + 1, *(self._digits + pair for pair in numbering.split(place, width)))

    def item_codes(self) -> NDArray[np.int64]:
        """The tokens of all items, `(items, pieces)`."""
        return np.array([self.item_pieces(place) for place in range(len(self.items))], dtype=np.int64)

    def item(self, item: str) -> list[Word]:
        """A mention of an item; plain words for one that is not of the catalogue."""
        place = self.place(item)
        return self.text("something") if place is None else [(self.item_pieces(place), item)]

    def user(self, user: str) -> list[Word] | None:
        """A mention of a user, None for one without a number."""
        number = self._numbers.get(user)
        if number is None:
            return None
        pairs = numbering.split(number, numbering.pairs(len(self.users)))
        return [((self.text_rows + 2, *(self._digits + pair for pair in pairs)), None)]

    def rating(self, rating: float) -> Word:
        """A rating as one token, rounded to whole stars (halves up)."""
        return (self.text_rows + 2 + int(np.clip(np.floor(rating + 0.5), 1, 5)),), None

    def label(self, place: int) -> Word:
        """The label of a choice."""
        return (self.text_rows + _LABELS + place,), None

    def text(self, text: str) -> list[Word]:
        """The words of a text; each is cut by itself, so that its pieces belong to one whole word."""
        for word in (words := text.split()):
            if word not in self._words:
                pieces = self.tokenizer.encode(word, add_special_tokens=False).ids[:_MOST_PIECES]
                self._words[word] = (tuple(pieces), None)
        return [self._words[word] for word in words]

    def sentence(self, text: str) -> list[int]:
        """The pieces of an answer in words."""
        return [piece for pieces, _ in self.text(text) for piece in pieces]

    def written(self, pieces: Sequence[int]) -> str:
        """Pieces as text, words set apart by single blanks."""
        return " ".join(self.tokenizer.decode(list(pieces), skip_special_tokens=True).split())
