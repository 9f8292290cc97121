from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.calling import call
from tests.report.shop import HANDLER, PLACEHOLDER, SCRIPT
from unimp_bench.places import Home
from unimp_bench.report.page import assemble, embedded


class _Reader(HTMLParser):
    """What a browser would take for elements, with the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append("")
        self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[-1] += data

    def scripts(self) -> list[tuple[dict[str, str | None], str]]:
        return [(a, text) for (tag, a), text in zip(self.tags, self.inside, strict=True) if tag == "script"]


def test_data_cannot_leave_its_block() -> None:
    text = embedded({"a": SCRIPT, "b": HANDLER, "c": PLACEHOLDER})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": SCRIPT, "b": HANDLER, "c": PLACEHOLDER}


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded({"a": float("nan")})


def test_one_script_whose_hash_the_policy_names(data: dict[str, Any]) -> None:
    page = _Reader(assemble(data))
    (block, text), (script, code) = page.scripts()
    assert block == {"type": "application/json", "id": "data"}
    assert json.loads(text) == json.loads(json.dumps(data))
    assert script == {}
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_nothing_is_fetched_and_nothing_hangs_on_an_element(data: dict[str, Any]) -> None:
    page = _Reader(assemble(data))
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "iframe", "object", "form", "base"})


def test_the_scripts_write_text_and_no_markup() -> None:
    folder = Path(__file__).parents[2] / "unimp_bench/report/static"
    code = "".join(path.read_text() for path in sorted(folder.glob("*.js")))
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|fetch\(|import\(", code
    )
    assert found == []
    assert "</" not in code
    assert not re.search(r"url\(|@import", (folder / "page.css").read_text())


def test_the_command_writes_one_file_and_says_what_is_in_it(home: Home, tmp_path: Path) -> None:
    found = call(home.root, "report", "--dataset", "shop", "--out", tmp_path / "new" / "page.html")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{tmp_path / 'new' / 'page.html'}\n"
    assert "sealed answers" in found.stderr
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "page.html"]
    again = call(home.root, "report", "--dataset", "shop", "--out", tmp_path / "again.html")
    assert again.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "new" / "page.html").read_bytes()
    wrong = call(home.root, "report", "--dataset", "shp")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "did you mean shop?" in wrong.stderr
