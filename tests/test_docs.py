"""What the documents say that one can type, and who they say is there, is so."""

from __future__ import annotations

import re
import shlex
import sys
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.fakes import register
from tests.shop import home_at
from unimp_bench import execute
from unimp_bench.cli.main import app
from unimp_bench.provenance import read_manifest
from unimp_bench.runners import registry

ROOT = Path(__file__).parent.parent
README, BASELINES = ROOT / "README.md", ROOT / "baselines/README.md"
DOCUMENTS = (README, BASELINES, *(ROOT / name / "README.md" for name in ("models", "benchmarks", "data_cards")))
PROGRAM: Any = typer.main.get_command(app)  # click's own types differ between versions of typer
_FENCE = re.compile(r"^```.*?$(.*?)^```$", re.MULTILINE | re.DOTALL)


def _typed(text: str) -> list[str]:
    """Every command line of a document, in fences and between backticks, without prompt and comment.

    What stands between backticks may be wrapped over two lines.
    """
    blocks = _FENCE.findall(text)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(unimp-bench\s[^`\n]+(?:\n[^`\n]+)?)`", _FENCE.sub("", text))
    lines += [" ".join(command.split()) for command in inline]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("unimp-bench ")]


def _parse(line: str) -> str:
    """The command that a line calls; an exception of click says what is wrong with its words."""
    words = shlex.split(line)[1:]
    if words[-1] == "--help":
        assert CliRunner().invoke(app, words).exit_code == 0
        words = words[:-1]
    name = next(word for at, word in enumerate(words) if word in PROGRAM.commands and words[at - 1] != "--home")
    at = words.index(name)
    command = PROGRAM.commands[name]
    if at + 1 == len(words):  # the bare name of a command, as in a table
        return name
    with PROGRAM.make_context("unimp-bench", words[: at + 1]) as above:
        command.make_context(name, words[at + 1 :], parent=above)
    return name


def _examples() -> list[str]:
    """Command lines of the help texts."""
    return [line for command in PROGRAM.commands.values() for line in _shown(command.help)]


def _shown(text: str) -> list[str]:
    """Example lines in a help text."""
    lines = [line.strip(" │").removeprefix("Example: ") for line in text.splitlines()]
    return [line for line in lines if line.startswith("unimp-bench ")]


DOCUMENTED = sorted({*_examples(), *(line for document in DOCUMENTS for line in _typed(document.read_text()))})


@pytest.mark.parametrize("line", DOCUMENTED)
def test_every_documented_line_parses(line: str) -> None:
    assert _parse(line) in PROGRAM.commands


@pytest.mark.parametrize(
    "line", ["unimp-bench run --modle bm25", "unimp-bench leaderboard --limit 3", "unimp-bench audit"]
)
def test_a_wrong_line_would_be_found(line: str) -> None:
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 2
    if "--" in line:
        with pytest.raises(Exception, match=r"(?i)no such option"):
            _parse(line)


@pytest.mark.parametrize("line", [line for line in DOCUMENTED if line.startswith("unimp-bench run ")])
def test_documented_runs_name_what_there_is(line: str) -> None:
    words = shlex.split(line)
    given = dict(pairwise(words))
    for name in registry.expand(given["--model"]):
        cls = registry.runner_class(name)
        if given.get("--task", "all") != "all" and given["--model"] == name:
            assert set(given["--task"].split(",")) <= cls.tasks
    pairs = [pair.split("=", 1) for flag, pair in pairwise(words) if flag == "--set"]
    if pairs:
        registry.load(given["--model"], dict(pairs))


def test_commands_are_found_in_fences_between_backticks_and_over_a_line() -> None:
    text = "\n".join(
        [
            "Say `unimp-bench list models`, not `unimp_bench`; `unimp-bench inspect --query",
            '"nail  polish" --png a.png` draws, `unimp-bench doctor',
            "",
            "of` is no command.",
            "```",
            "$ unimp-bench audit NAME   # the checks",
            "python -m unimp_bench",
            "```",
        ]
    )
    assert _typed(text) == [
        "unimp-bench audit NAME",
        "unimp-bench list models",
        'unimp-bench inspect --query "nail polish" --png a.png',
    ]


def test_every_command_is_in_the_readme_and_has_an_example_on_one_line() -> None:
    text = README.read_text()
    for name in PROGRAM.commands:
        assert f"`unimp-bench {name}" in text, name
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).stdout
        examples = _shown(PROGRAM.commands[name].help)
        assert examples == _shown(shown) != [], f"{name}: no example, or wrapped at 80 characters"


def test_every_option_says_what_it_is_for() -> None:
    for name, command in PROGRAM.commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", (name, parameter.name)


def test_every_runner_is_in_the_table_of_baselines_and_nobody_else() -> None:
    rows = re.findall(r"^\| `([\w:]+)` \|", BASELINES.read_text(), re.MULTILINE)
    ours = [name for name, entry in registry.found().items() if entry.module.startswith("unimp_baselines.")]
    assert sorted(rows) == sorted(ours)


def test_files_that_the_documents_link_to_are_there() -> None:
    for document in (*DOCUMENTS, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_system_in_fifteen_lines_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for block in _FENCE.findall(README.read_text()) if "class HighIndex" in block]
    module = types.ModuleType("newest")
    monkeypatch.setitem(sys.modules, "newest", module)
    exec(code, module.__dict__)
    register(monkeypatch, high_index="newest:HighIndex")
    folder = execute.run(home_at(tmp_path / "home"), "shop", "recommendation", "high_index")
    assert read_manifest(folder) is not None
