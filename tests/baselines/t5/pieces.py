"""What the tests of P5 share: a vocabulary of a few items and a network of hand size."""

from __future__ import annotations

import torch

from unimp_baselines.t5 import vocabulary, weights
from unimp_baselines.t5.encoding import Reader
from unimp_baselines.t5.network import Extras, Personal
from unimp_baselines.t5.prompts import WORDINGS
from unimp_baselines.t5.vocabulary import Vocabulary

ITEMS = tuple(f"i{k:02d}" for k in range(20))
USERS = ("ann", "bob", "cleo")
TITLES = {"i00": "Red wooden train", "i01": "Blue train"}


def known(*, atomic: bool = False, items: tuple[str, ...] = ITEMS) -> Vocabulary:
    """A vocabulary over a tokenizer of the wordings and two titles."""
    texts = [*TITLES.values(), *(wording for family in WORDINGS.values() for wording in family)] * 2
    tokenizer = vocabulary.trained(texts, 400)
    return Vocabulary(tokenizer, tokenizer.get_vocab_size(), items, USERS, 8, atomic)


def reader(own: Vocabulary, *, pictures: int = 0, pictured: tuple[str, ...] = ()) -> Reader:
    """A reader whose end token is 1 and padding 0."""
    return Reader(own, TITLES, {item: k for k, item in enumerate(pictured)}, 1, 0, pictures)


def network(own: Vocabulary, **extras: int) -> Personal:
    """A network of width 16 with drawn weights."""
    torch.manual_seed(0)
    return Personal(weights.small(own.text_rows, 16, 1, 2, 0.0), Extras(own.added, **extras)).eval()
