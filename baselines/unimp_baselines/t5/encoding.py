"""Questions as tensors: tokens, whole-word numbers, where pictures stand, and right answers.

Shapes: batch B, tokens of questions L, tokens of answers T. Whole words are numbered from 1 within a question, the end
token and padding have 0 (P5, section 3.2); training and asking number them by the same lines of code, which P5's
released notebook does not. After the mention of an item with a picture stand `pictures` tokens of the same whole word
that hold places for its visual tokens (VIP5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimp_baselines.t5.prompts import NOBODY, WORDINGS, Word, filled
from unimp_baselines.t5.questions import Question
from unimp_baselines.t5.vocabulary import Vocabulary

IGNORED = -100  # where an answer is padding


@dataclass(frozen=True)
class Read:
    """One question in tokens: `tokens` and `wholes` are equally long, `shown` are items with pictures, in order."""

    tokens: list[int]
    wholes: list[int]
    shown: list[str]


@dataclass(frozen=True)
class Batch:
    """Questions side by side, padded at the end.

    `tokens`, `wholes` and `mask` are `(B, L)`; `shown` `(mentions,)` are rows of the feature table, row by row in the
    order of their places; `answers` is `(B, T)` with `IGNORED` where there is nothing, or None.
    """

    tokens: Tensor
    wholes: Tensor
    mask: Tensor
    shown: Tensor
    answers: Tensor | None

    def to(self, device: str) -> Batch:
        """The same elsewhere."""
        right = None if self.answers is None else self.answers.to(device)
        return Batch(self.tokens.to(device), self.wholes.to(device), self.mask.to(device), self.shown.to(device), right)


@dataclass(frozen=True)
class Reader:
    """Turns questions into tokens.

    `titles` are cut and disarmed; `pictured` maps items with a picture to rows of the feature table.
    """

    vocabulary: Vocabulary
    titles: Mapping[str, str]
    pictured: Mapping[str, int]
    end: int
    pad: int
    pictures: int = 0  # visual tokens of an item
    most_answer: int = 64  # tokens of a sentence

    def words(self, question: Question, wording: str, *, named: bool) -> list[Word]:
        """The words of a question."""
        known = self.vocabulary
        text = known.text
        who = known.user(question.user) if named else None
        rated: list[Word] = []
        for item, rating in question.history:
            rated.extend([*known.item(item), *([known.rating(rating)] if rating is not None else []), *text(",")])
        choices: list[Word] = []
        for place, item in enumerate(question.choices):
            choices.extend([known.label(place), *known.item(item), *text(",")])
        places = {
            "who": who or text(NOBODY),
            "bought": [w for item, _ in question.history for w in (*known.item(item), *text(","))][:-1],
            "rated": rated[:-1],
            "item": known.item(question.item) if question.item is not None else [],
            "title": text(self.titles.get(question.item or "", "unknown")),
            "choices": choices[:-1],
        }
        return filled(wording, places, text)

    def read(self, words: Sequence[Word]) -> Read:
        """Words in tokens, visual places right after the mention that they belong to."""
        tokens: list[int] = []
        wholes: list[int] = []
        shown: list[str] = []
        for number, (pieces, item) in enumerate(words, start=1):
            extra = self.pictures if item is not None and item in self.pictured else 0
            tokens.extend(pieces)
            tokens.extend([self.vocabulary.picture] * extra)
            wholes.extend([number] * (len(pieces) + extra))
            if extra and item is not None:
                shown.append(item)
        return Read([*tokens, self.end], [*wholes, 0], shown)

    def asked(self, question: Question, *, unseen: bool, named: bool) -> Read:
        """A question as it is asked after training: by the first wording, or by the one never trained on."""
        wording = WORDINGS[question.task][-1 if unseen else 0]
        return self.read(self.words(question, wording, named=named))

    def answer(self, question: Question) -> list[int]:
        """The tokens of the right answer."""
        known, right = self.vocabulary, question.answer
        if question.task == "recommendation":
            place = known.place(right)
            return [] if place is None else [*known.item_pieces(place), self.end]
        if question.task == "preference":
            return [*known.rating(right)[0], self.end]
        if question.task == "explanation":
            return [*known.sentence(right)[: self.most_answer - 1], self.end]
        labels = [known.label(k)[0][0] for k, item in enumerate(question.choices) if item in right]
        return [*labels, self.end]

    def lesson(self, question: Question, rng: np.random.Generator, nameless: float) -> tuple[Read, list[int]]:
        """A question in a drawn wording and its answer; choices in a drawn order, users unnamed now and then."""
        wordings = WORDINGS[question.task][:-1]
        wording = wordings[int(rng.integers(len(wordings)))]
        named = bool(rng.random() >= nameless)
        if question.choices:
            order = rng.permutation(len(question.choices))
            choices = tuple(question.choices[k] for k in order)
            question = Question(question.task, question.user, question.history, question.item, choices, question.answer)
        return self.read(self.words(question, wording, named=named)), self.answer(question)

    def batch(self, reads: Sequence[Read], answers: Sequence[list[int]] | None, width: int = 0) -> Batch:
        """Questions side by side, `width` tokens wide or as wide as the longest."""
        width = max(width, *(len(read.tokens) for read in reads))
        tokens = np.full((len(reads), width), self.pad)
        wholes = np.zeros((len(reads), width), dtype=np.int64)
        mask = np.zeros((len(reads), width), dtype=bool)
        for k, read in enumerate(reads):
            length = len(read.tokens)
            tokens[k, :length], wholes[k, :length], mask[k, :length] = read.tokens, read.wholes, True
        shown = torch.tensor([self.pictured[item] for read in reads for item in read.shown], dtype=torch.int64)
        right = None
        if answers is not None:
            right = torch.full((len(answers), max(len(answer) for answer in answers)), IGNORED)
            for k, answer in enumerate(answers):
                right[k, : len(answer)] = torch.tensor(answer)
        numbers, words, real = torch.from_numpy(tokens), torch.from_numpy(wholes), torch.from_numpy(mask)
        return Batch(numbers, words, real, shown, right)
