"""How many threads a small model computes with, and what else may be computed meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

GIVEN = torch.get_num_threads()  # what cores, OMP_NUM_THREADS or who imports this allow
_MOST = 4  # batches at once, whose memory adds up; the interpreter has one lock for all

_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Inside, torch uses so many threads; 0 changes nothing.

    Threads wait for each other after every operation. Where operations take some microseconds that costs about what it
    brings on free cores, and four times as much where other work runs on them.
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def at_once(device: torch.device) -> int:
    """How many computations the cores have room for, with as many threads each as there are now."""
    return max(1, min(_MOST, GIVEN // torch.get_num_threads())) if device.type == "cpu" else 1


def ahead(work: Callable[[_T], _R], given: Iterable[_T], count: int) -> Iterator[_R]:
    """The results of `work`, in order; up to `count` are worked at, in threads of their own, before they are asked for.

    Batches need not wait for each other as the threads of one operation do. Answers of preset tiny take 0.5 to 0.75 of
    the time on two free cores; on shared ones up to a third more, where two threads in every operation take two to
    three times as long (`benchmarks/answering.py`). Errors of `work` come as
    their result's turn comes.
    """
    if count == 1:
        yield from map(work, given)
        return
    gradients, waiting = torch.is_grad_enabled(), deque[Future[_R]]()

    def alike(one: _T) -> _R:
        with torch.set_grad_enabled(gradients):  # a new thread knows nothing of it
            return work(one)

    with ThreadPoolExecutor(count, thread_name_prefix="unimp-reading") as pool:
        try:
            for one in given:
                waiting.append(pool.submit(alike, one))
                if len(waiting) >= count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one_more in waiting:
                one_more.cancel()
