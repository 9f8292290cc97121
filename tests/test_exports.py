from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.finished import write_run
from unimp_bench.board import COLUMNS, rows
from unimp_bench.exports import caption, csv_text, json_text, labels, latex_text, markdown_text, title, write
from unimp_bench.places import Home

HOSTILE = r"a|b_c%&#$^~{}\*<script>alert(1)</script>`x`[y](z)" + "\nnext line"


@pytest.fixture
def board(tmp_path: Path) -> pl.DataFrame:
    home = Home(tmp_path)
    rng = np.random.default_rng(0)
    write_run(home, "good_one", {"hr@10": rng.random(200)}, parameters={"k": 1.5})
    write_run(home, "oracle", {"hr@10": np.ones(200)}, reads_truth=True)
    write_run(home, "bad", {"hr@10": rng.random(200) / 4}, cohort="in_domain")
    write_run(home, "bad", {"rmse": rng.random(1)}, task="preference")
    return rows(home)


def _hostile(board: pl.DataFrame) -> pl.DataFrame:
    return board.with_columns(runner=pl.lit(HOSTILE))


def test_csv_and_json_hold_every_row_and_column(board: pl.DataFrame) -> None:
    again = pl.read_csv(io.StringIO(csv_text(_hostile(board))), schema=COLUMNS)
    assert again.equals(_hostile(board))
    listed = json.loads(json_text(_hostile(board)))
    assert [list(row) for row in listed] == [list(COLUMNS)] * board.height
    assert {row["runner"] for row in listed} == {HOSTILE}
    assert {json.dumps(row["parameters"]) for row in listed} == {"{}", '{"k": 1.5}'}
    assert [row["value"] for row in listed] == board["value"].to_list()
    assert json.loads(json_text(board.clear())) == []


def test_markdown_by_hand(board: pl.DataFrame) -> None:
    shown = markdown_text(board.filter(pl.col("task") == "search"))
    lines = shown.splitlines()
    assert lines[0] == "### shop · search · in\\_domain"
    assert lines[2] == "| runner | hr@10 | 95 % interval | tier | unanswered | seeds |"
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[4].startswith("| oracle \\* | 1.0000 | ")
    assert [line.split(" | ")[3] for line in lines[4:7]] == ["", "1", "2"]
    assert lines[5].startswith("| good\\_one | 0.")
    assert "n = 200 · higher is better" in lines[8]


def test_markdown_of_hostile_names_is_text_in_its_cell(board: pl.DataFrame) -> None:
    drawn = markdown_text(_hostile(board))
    for line in drawn.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 7
    assert "<script>" not in drawn
    assert "\\[y\\](z)" in drawn
    assert "next line" in drawn and "\nnext line" not in drawn


def test_latex_by_hand(board: pl.DataFrame) -> None:
    lines = latex_text(board.filter(pl.col("task") == "search")).splitlines()
    assert lines[0] == "% needs \\usepackage{booktabs}"
    body = lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]
    assert [line.count(" & ") for line in body] == [5, 5, 5]
    assert all(line.endswith(r" \\") for line in body)
    assert body[1].startswith("good\\_one & \\textbf{0.")
    assert "textbf" not in body[0] + body[2]
    assert "in\\_domain" in lines[4]
    assert "95 \\% interval" in lines[lines.index("\\toprule") + 1]


def test_latex_of_hostile_names_is_text(board: pl.DataFrame) -> None:
    drawn = latex_text(_hostile(board))
    line = next(line for line in drawn.splitlines() if line.startswith("a"))
    name = line.split(" & ")[0]
    assert name.startswith(
        r"a\textbar{}b\_c\%\&\#\$\textasciicircum{}\textasciitilde{}\{\}\textbackslash{}*\textless{}"
    )
    assert name.endswith("next line")
    bare = re.sub(r"\\(text[a-z]+\{\}|[&%$#_{}])", "", name)
    assert not set(bare) & set("\\&%$#_{}~^<>|")


def test_tables_of_nothing_are_nothing(board: pl.DataFrame) -> None:
    assert markdown_text(board.clear()) == ""
    assert latex_text(board.clear()) == "% needs \\usepackage{booktabs}\n"


def test_titles_say_what_and_captions_how_to_read(board: pl.DataFrame) -> None:
    search = board.filter(pl.col("task") == "search")
    assert title(search) == "shop · search · in_domain"
    assert title(search.with_columns(variant=pl.lit("NT-0.2"))) == "shop · NT-0.2 · search · in_domain"
    assert re.search(r"split abcdef01 · detectable difference about 0\.0\d+$", caption(search))
    alone = board.filter(pl.col("task") == "preference")
    assert caption(alone) == "n = 1 · lower is better · task version 1 · protocol paper · split abcdef01"
    unknown = alone.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in ("value", "low", "high"))
    assert "| bad | - | - | 1 | 0 | 0 |" in markdown_text(unknown)


def test_labels_tell_rows_apart(board: pl.DataFrame) -> None:
    two = board.filter(pl.col("runner") == "good_one")
    other = two.with_columns(parameters=pl.lit('{"k": 2.0}'))
    assert labels(pl.concat([two, other])) == ["good_one k=1.5", "good_one k=2.0"]
    assert labels(board.filter(pl.col("task") == "search")) == ["oracle *", "good_one", "bad"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write("text · –\n", tmp_path / "new" / "board.md")  # noqa: RUF001
    assert (tmp_path / "new" / "board.md").read_bytes().decode() == "text · –\n"  # noqa: RUF001
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write("text", tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []
