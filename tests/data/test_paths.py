from __future__ import annotations

import pytest

from unimp_bench.data.paths import first_path


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        (
            "[[Clothing, Shoes & Jewelry,T,Tommy],[Clothing, Shoes & Jewelry,Men]]",
            ["Clothing, Shoes & Jewelry", "T", "Tommy"],
        ),
        ("[[Grocery,Coffee, Tea & Cocoa,Tea]]", ["Grocery", "Coffee, Tea & Cocoa", "Tea"]),
        ("[['A', 'B'], ['C']]", ["A", "B"]),
        ('["A, x", "B"]', ["A, x", "B"]),
        ("A > B > C", ["A", "B", "C"]),
        ("A|B", ["A", "B"]),
        ("Just one", ["Just one"]),
        (["A", "B"], ["A", "B"]),
        ([["A"], ["B", "C"]], ["B", "C"]),
        ("", None),
        (None, None),
        ("[]", None),
        ("[__import__('os')]", ["__import__('os')"]),
    ],
)
def test_first_path(cell: object, path: list[str] | None) -> None:
    assert first_path(cell) == path
