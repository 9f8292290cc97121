"""Pictures small enough to live inside a page: re-encoded, each once, and no more than a budget allows.

Re-encoding is also a matter of safety: what reaches the page are pixels of our own encoder, never a file's bytes.
"""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image, features

from unimp_bench.descriptor import decode

SIDE = 96  # pixels of the longer side
BUDGET = 5_500_000  # characters of all data addresses together
_QUALITY = 60


class Album:
    """Data addresses of pictures, in the order in which they were first asked for."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.addresses: list[str] = []
        self.left_out = 0
        self._left = budget
        self._numbers: dict[str, int] = {}

    def add(self, data: bytes | None) -> int | None:
        """The picture's number; None if it cannot be read, or if the budget is spent."""
        address = thumbnail(data) if data else None
        if address is None:
            return None
        if address not in self._numbers:
            if len(address) > self._left:
                self.left_out += 1
                return None
            self._left -= len(address)
            self._numbers[address] = len(self.addresses)
            self.addresses.append(address)
        return self._numbers[address]


def thumbnail(data: bytes, side: int = SIDE) -> str | None:
    """The picture as a data address of at most `side` pixels each way, without metadata; None if it is no picture."""
    try:
        picture = decode(data)
    except ValueError:
        return None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    kind = "WEBP" if features.check("webp") else "JPEG"
    file = BytesIO()
    picture.save(file, kind, quality=_QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
