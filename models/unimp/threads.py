"""How many threads a small model computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
