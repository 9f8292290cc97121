"""Batches that are read at once: in order, with their errors, and answered as they are one after the other."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from tests.unimp.test_decoding import decode, example, make
from unimp import threads
from unimp.threads import ahead, at_most, at_once


def test_as_many_at_once_as_threads_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GIVEN", 2)
    cpu = torch.device("cpu")
    with at_most(1):
        assert at_once(cpu) == 2
        assert at_once(torch.device("cuda")) == 1  # it has a queue of its own
        monkeypatch.setattr(threads, "GIVEN", 64)
        assert at_once(cpu) == 4
        monkeypatch.setattr(threads, "GIVEN", 1)
        assert at_once(cpu) == 1
    with at_most(3):
        assert at_once(cpu) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count: int) -> None:
    def slow(n: int) -> int:
        time.sleep(0.01 * (n % 3 == 0))
        return n * n

    assert list(ahead(slow, range(10), count)) == [n * n for n in range(10)]
    assert list(ahead(slow, [], count)) == []


def test_two_are_worked_at_together() -> None:
    both = threading.Barrier(2)
    assert list(ahead(lambda n: both.wait(timeout=30) >= 0 and n, range(1, 5), 2)) == [1, 2, 3, 4]


def test_gradients_are_as_where_it_was_called() -> None:
    with torch.no_grad():
        assert list(ahead(lambda _: torch.is_grad_enabled(), range(4), 2)) == [False] * 4
    assert list(ahead(lambda _: torch.is_grad_enabled(), range(4), 2)) == [True] * 4


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_when_its_turn_comes(count: int) -> None:
    def fails(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    got = []
    with pytest.raises(ValueError, match="two"):
        for n in ahead(fails, range(6), count):
            got.append(n)
    assert got == [0, 1]


def test_who_stops_listening_leaves_nothing_running() -> None:
    begun: list[int] = []
    results = ahead(lambda n: begun.append(n) or n, range(100), 2)
    assert next(results) == 0
    results.close()
    assert len(begun) <= 2
    assert not [t for t in threading.enumerate() if t.name.startswith("unimp-reading")]


@pytest.mark.parametrize("more", [{}, {"exclusive": False}, {"fusion": "late"}], ids=str)
def test_answers_are_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch, more: dict[str, object]) -> None:
    asked = [example(seed) for seed in range(24)]
    made = make(tokens=120, **more)
    rows = [made.prompt("image_generation", one) for one in asked]
    answers = []
    for count in (1, 3):
        monkeypatch.setattr("unimp.reader.at_once", lambda _, count=count: count)
        answers.append(
            [
                made.rank("recommendation", asked),
                made.rate(asked)[0],
                made.choose(asked)[0],
                made.explain(asked, decode, beams=2, most_words=6),
                made.picture_codes(rows, 5),
            ]
        )
    for one, several in zip(*answers, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, several)
        else:
            assert one == several


def test_memory_is_given_back_while_reading_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[int] = []
    made, asked = make(tokens=1), [example(seed) for seed in range(7)]  # a batch each
    monkeypatch.setattr("unimp.memory.give_back", lambda: returned.append(1))
    monkeypatch.setattr("unimp.memory.EVERY", 3)
    made.rate(asked)
    assert len(returned) == 2 + 1
