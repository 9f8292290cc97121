"""A shop of hand size to train on: items are words, users buy neighbours on a ring of items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unimp.batching import Plan, Rows
from unimp.config import UnimpConfig
from unimp.modeling import Unimp
from unimp.sequence import Style, Writer
from unimp.shop import Example, Items, Log, Shop
from unimp.vocabulary import Vocabulary

torch.set_num_threads(1)  # operations this small only wait for each other
ITEMS, USERS, TEXT = 12, 14, 64
HAS_PICTURE = np.arange(ITEMS) % 4 != 3
QUESTIONS = {"recommendation": 2, "search": 1, "preference": 1, "explanation": 1, "selection": 1}


def encode(text: str) -> list[int]:
    """A word to an id 1 .. TEXT - 1, by its letters alone."""
    return [1 + sum(map(ord, word)) % (TEXT - 1) for word in text.split()]


def shop(users: int = USERS, seed: int = 0) -> Shop:
    """Users of three to nine rows, one in five without explanations; a selection example for every other user."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 10, users)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    item = np.concatenate([np.zeros(0, np.int64), *((int(rng.integers(ITEMS)) + np.arange(n)) % ITEMS for n in counts)])
    rows = len(item)
    whys = [None if k % 5 == 0 else f"because of reason {k % 3}" for k in range(rows)]
    told = np.array([why is not None for why in whys])
    log = Log(
        offsets=offsets,
        item=item,
        rating=(1 + item % 5).astype(np.float32),
        why=whys,
        query=item % 3,
        queries=("red ones", "green ones", "blue ones"),
        learned={
            "recommendation": np.ones(rows, bool),
            "search": np.ones(rows, bool),
            "preference": np.ones(rows, bool),
            "explanation": told,
        },
    )
    selection = [_selection(item, offsets[u]) for u in range(0, users, 2)]
    bodies = tuple(f"Title thing {k} of kind {k % 3}" for k in range(ITEMS))
    names = tuple(f"i{k}" for k in range(ITEMS))
    pictures = tuple(f"p{k}" if HAS_PICTURE[k] else None for k in range(ITEMS))
    items = Items(names, bodies, bodies, ("toys",) * ITEMS, pictures, lambda _: {})
    return Shop(items, log, selection)


def _selection(item: np.ndarray, first: int) -> Example:
    history = item[first : first + 2]
    candidates = tuple(int(x) % ITEMS for x in range(int(item[first + 2]), int(item[first + 2]) + 4))
    ratings = np.array([4.0, np.nan], np.float32)
    return Example("", "", history, ratings, (None, None), candidates=candidates, answer_items=candidates[:2])


def config(
    fusion: str = "cross_attention", train_rows: str = "new", layers: int = 2, item_rows: str = "free"
) -> UnimpConfig:
    """A model of some thousand weights."""
    text = {
        "model_type": "gpt_neox",
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 2048,
        "rotary_pct": 1.0,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    return UnimpConfig(
        text,
        text_ids=TEXT,
        candidates=6,
        items=ITEMS,
        fusion=fusion,
        latents=2,
        resampler_layers=1,
        resampler_heads=2,
        cross_heads=2,
        head_width=8,
        feed_forward=2,
        cross_every=1,
        train_rows=train_rows,
        item_rows=item_rows,
    )


def model(seed: int = 0, **kwargs: str) -> Unimp:
    """The same weights for the same seed."""
    torch.manual_seed(seed)
    made = Unimp(config(**kwargs))
    if made.content is not None:
        bodies = [np.array(encode(body), np.int32) for body in shop().items.bodies]
        pictures = patches(range(ITEMS)).mean(1) if made.content.vision else None
        made.content.learn(bodies, pictures)
        made.content.furnish(bodies, pictures)
    return made


def rows(
    of: Shop | None = None, *, tokens: int = 250, questions: dict[str, int] | None = None, separate: bool = False
) -> Rows:
    """Rows of a shop with short histories."""
    of = of or shop()
    bodies = [np.array(encode(body), np.int32) for body in of.items.bodies]
    vocabulary = Vocabulary.of(config())
    writer = Writer(vocabulary, bodies, bodies, encode, Style(history=4))
    return Rows(of, writer, Plan(questions or QUESTIONS, tokens, separate), seed=3)


def patches(pictures: Tensor | Sequence[int]) -> Tensor:
    """Three patch tokens of width 16 by item, always the same."""
    table = torch.randn(ITEMS, 3, 16, generator=torch.Generator().manual_seed(5))
    return table[torch.as_tensor(pictures)]
