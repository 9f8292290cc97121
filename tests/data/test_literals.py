from __future__ import annotations

import ast
import random
import warnings

import pytest

from unimp_bench.data.literals import parse_literal


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r"{'a': 'b', 'c': [1, 2.5]}", {"a": "b", "c": [1, 2.5]}),
        (r"""{'a': "it's", 'b': None, 'c': 'None True'}""", {"a": "it's", "b": None, "c": "None True"}),
        (r"{u'a': u'\xe9 \u2019 \'q\' \"d\" \\ \101'}", {"a": "\u00e9 \u2019 'q' \"d\" \\ A"}),
        (r"{'a': ('x', 0x10), }", {"a": ["x", 16]}),
        (r"{'a': '\ud83d\ude00 \q'}", {"a": "\U0001f600 \\q"}),
    ],
)
def test_literals(line: str, value: object) -> None:
    assert parse_literal(line.encode()) == value


@pytest.mark.parametrize(
    "line",
    [
        "{'a': __import__('os').system('x')}", "open('x')", "{'a': x}", "{'a': 1", "[x for x in ()]", "lambda: 0",
        "f'{1}'", "{'a': nan}", "(" * 100_000, r"{'a': '\N{no such name}'}", r"{'a': '\x4'}", "'\xff'",
    ],
)  # fmt: skip
def test_code_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_literal(line.encode("latin-1"))


def test_equal_to_the_standard_parser_on_random_records() -> None:
    draw = random.Random(0)
    letters = "a'\"\\\n\t {}[]:,\u00e9\U0001f600\x00None0x41u"
    for _ in range(2_000):
        text = ["".join(draw.choices(letters, k=draw.randint(0, 9))) for _ in range(3)]
        record = {text[0]: text[1], "n": [None, True, draw.random()], text[2]: {"k": text}}
        assert parse_literal(repr(record).encode()) == record
        assert parse_literal(ascii(record).encode()) == record


def test_accepts_nothing_that_the_standard_parser_reads_otherwise() -> None:
    draw = random.Random(1)
    pieces = ["'", '"', "\\", "x", "41", "u", "one", "None", ",", "1", " ", "[", "]", "\\n", "-", "."]
    for _ in range(4_000):
        line = "{'a': " + "".join(draw.choices(pieces, k=draw.randint(1, 6))) + "}"
        try:
            found = parse_literal(line.encode())
        except ValueError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = ast.literal_eval(line)
        assert found == expected or isinstance(expected["a"], tuple), line
