"""Where each kind of id stands."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.unimp.tiny import TEXT, config
from unimp.errors import CheckpointError
from unimp.vocabulary import Vocabulary

PLAIN = Vocabulary(text=100, candidates=3, codes=4, items=5)
CODES = np.array([[0, 1, 0], [1, 2, 1]])
SEMANTIC = Vocabulary(text=100, candidates=3, codes=4, items=2, levels=3, codebook=4, semantic=CODES)


def test_kinds_follow_each_other_without_a_gap() -> None:
    special = [PLAIN.image, PLAIN.chunk_end, PLAIN.answer, PLAIN.pad]
    ids = [*special, *PLAIN.rates, *PLAIN.choices, *PLAIN.pictures, *PLAIN.item_ids]
    assert ids == list(range(100, PLAIN.size))
    assert PLAIN.size == 100 + 4 + 5 + 3 + 4 + 5
    assert PLAIN.end == 0


def test_ids_of_items() -> None:
    start = PLAIN.item_ids.start
    assert [PLAIN.item(index) for index in (0, 4)] == [[start], [start + 4]]
    assert PLAIN.items_named([4, 0]).tolist() == [[start + 4], [start]]


def test_semantic_ids_have_a_range_a_level() -> None:
    start = SEMANTIC.item_ids.start
    assert SEMANTIC.item(1) == [start + 1, start + 4 + 2, start + 8 + 1]
    assert SEMANTIC.items_named([0, 1]).tolist() == [SEMANTIC.item(0), SEMANTIC.item(1)]
    assert len(SEMANTIC.item_ids) == 12


def test_ratings_are_kept_within_their_range() -> None:
    assert [PLAIN.rate(stars) for stars in (1, 5, 0, 9)] == [104, 108, 104, 108]


def test_a_larger_catalogue_moves_no_other_id() -> None:
    larger = Vocabulary(text=100, candidates=3, codes=4, items=6)
    assert larger.item(4) == PLAIN.item(4)
    assert larger.pictures == PLAIN.pictures


def test_special_ids_are_never_generated() -> None:
    assert PLAIN.never_generated == (100, 101, 102, 103)


def test_the_vocabulary_of_a_configuration_has_its_size() -> None:
    settings = config()
    ids = Vocabulary.of(settings)
    assert ids.text == TEXT
    assert ids.size == settings.text.vocab_size


@pytest.mark.parametrize("codes", [None, np.zeros((5, 3), dtype=np.int64), np.zeros((6, 2), dtype=np.int64)])
def test_codes_of_another_catalogue_are_refused(codes: np.ndarray | None) -> None:
    settings = config(item_levels=3, codebook=4)
    with pytest.raises(CheckpointError, match=r"the model was made for \(6, 3\)"):
        Vocabulary.of(settings, codes)


def test_codes_for_atomic_ids_are_refused() -> None:
    with pytest.raises(CheckpointError, match="made for None"):
        Vocabulary.of(config(), np.zeros((6, 3), dtype=np.int64))


def test_many_items_cost_nothing() -> None:
    began = time.perf_counter()
    ids = Vocabulary(text=50_277, candidates=20, codes=1024, items=120_000)
    named = ids.items_named(range(120_000))
    assert time.perf_counter() - began < 1
    assert named[-1, 0] == ids.size - 1
