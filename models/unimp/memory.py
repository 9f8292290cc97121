"""Memory that was freed, given back to the system.

Batches differ in shape, so the C library's allocator is left with holes that nothing fits: without this, a training of
1 GB of live memory grows past 4 GB.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any

EVERY = 16  # steps between two calls; one takes some milliseconds


@cache
def _library() -> Any:
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    return library if library is not None and hasattr(library, "malloc_trim") else None


def give_back() -> bool:
    """Give back what is free; False where the C library (any but glibc) cannot."""
    library = _library()
    return bool(library is not None and library.malloc_trim(0) >= 0)
