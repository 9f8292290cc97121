"""One user's questions, asked on the fly: what a runner is shown, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from tests.answering import Looker
from tests.fakes import register
from tests.shop import home_at, interactions
from unimp_bench import contact_sheet, execute, fitting, tables
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, NotLearnedError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.progress import Silent
from unimp_bench.questions import Wish, ask
from unimp_bench.runners.protocol import Context, ScoreBlock
from unimp_bench.schemas import EXAMPLES, INTERACTIONS, PREDICTIONS
from unimp_bench.subjects import own_query, subject_of


class _Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@dataclass
class Chooser(Looker):
    """Claims every task and learns those of `learn` alone, as UniMP does; says so when it is asked another."""

    learn: str = "recommendation,search"

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        if task not in self.learn.split(","):
            raise NotLearnedError(f"chooser learned {self.learn} only")
        yield from super().predict(task, examples, view, context)


@dataclass
class Damaged(Looker):
    """Learned all, and cannot read what it learned of one."""

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        if task == "explanation":
            raise ConfigError("fits/1 lacks 'tower'; fit it again")
        yield from super().predict(task, examples, view, context)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    fakes = {name.lower(): f"tests.answering:{name}" for name in ("Looker", "Learner", "OnlyLists")}
    register(monkeypatch, **fakes, chooser="tests.test_questions:Chooser", damaged="tests.test_questions:Damaged")
    return home_at(tmp_path / "home")


@pytest.mark.parametrize("user", ["u03", "u21", "u25"])
def test_questions_are_the_built_examples(home: Home, user: str) -> None:
    data = Dataset.open(home, "shop")
    subject = subject_of(data, user)
    for task in ("recommendation", "search", "preference", "explanation", "image_generation"):
        built = data.examples(task, "test").filter(pl.col("user_id") == user).collect()
        if not built.height:
            continue
        asked = subject.example(task, own_query(data, user), built["target_item_id"][0])
        assert fitting.render(data, task, asked, data.catalogue()).equals(built.select(*EXAMPLES.columns)), task


def test_answers_are_those_of_the_run_and_its_fit_is_taken(home: Home) -> None:
    folders = {task: execute.run(home, "shop", task, "looker") for task in ("recommendation", "search")}
    heard = _Heard()
    reply = ask(home, "shop", "looker", Wish("u03", top=4), progress=heard)
    for task, folder in folders.items():
        said = tables.read(folder / "predictions.parquet", PREDICTIONS["ranking"])
        mine = said.filter(pl.col("example_id").str.starts_with("u03:"))["item_ids"].to_list()[0]
        assert reply.said[task] == mine[:4]
    assert reply.own_query
    assert reply.item == reply.said["recommendation"][0]
    assert reply.said["explanation"] == f"fitted {reply.item} after 7"
    rows = interactions().filter(user_id="u03").sort("position")
    assert reply.said["preference"] == pytest.approx(rows["rating"][:-1].mean())
    assert Image.open(BytesIO(reply.said["image_generation"])).size == (16, 16)
    assert "selection" not in reply.said
    assert not reply.left_out
    assert not any("yet" in line for line in heard.lines)
    assert len(list((home.root / "fits").iterdir())) == 1


def test_a_fit_that_is_not_there_is_made_and_said_so(home: Home) -> None:
    heard = _Heard()
    reply = ask(home, "shop", "looker", Wish("u03"), parameters={"note": "mine"}, progress=heard)
    (line,) = [line for line in heard.lines if line.startswith("no fit of looker")]
    assert "making it now" in line
    assert str(reply.said["explanation"]).startswith("mine ")
    again = _Heard()
    execute.run(home, "shop", "search", "looker", parameters={"note": "mine"}, progress=again)
    assert len(list((home.root / "fits").iterdir())) == 1


def test_an_own_query_and_an_own_item(home: Home) -> None:
    reply = ask(home, "shop", "looker", Wish("u03", query="Low top sneaker", item="i02"))
    assert (reply.query, reply.own_query, reply.item) == ("Low top sneaker", False, "i02")
    assert "i02" in reply.said["explanation"]
    with pytest.raises(ConfigError, match="the query is empty"):
        ask(home, "shop", "looker", Wish("u03", query=" "))


def test_a_user_of_a_held_out_domain_is_answered_by_the_adapted_fit(home: Home) -> None:
    known, new = (ask(home, "shop", "learner", Wish(user)) for user in ("u03", "u25"))
    assert known.said["explanation"].startswith("fitted")
    assert new.said["explanation"].startswith("adapted")
    assert set(new.said["recommendation"]) <= {"i16", "i17", "i18", "i19"}


def test_what_a_runner_lacks_is_left_out(home: Home) -> None:
    reply = ask(home, "shop", "onlylists", Wish("u03"))
    assert list(reply.said) == ["recommendation"]
    assert reply.left_out["search"] == "the runner does not answer it"
    with pytest.raises(ConfigError, match="answers for in_domain, new_user; user 'u25' is new_domain"):
        ask(home, "shop", "onlylists", Wish("u25"))
    with pytest.raises(ConfigError, match="runner 'all_candidates' has nothing to say here"):
        ask(home, "shop", "all_candidates", Wish("u03"))
    rated = ask(home, "shop", "mean_rating", Wish("u03", item="i02"))
    assert list(rated.said) == ["preference"]
    assert ask(home, "shop", "bm25", Wish("u03")).left_out["preference"] == "the runner does not answer it"


def test_what_a_fit_did_not_learn_is_left_out_with_its_reason(home: Home) -> None:
    reply = ask(home, "shop", "chooser", Wish("u03"))
    assert list(reply.said) == ["recommendation", "search"]
    unlearned = ("preference", "explanation", "image_generation")
    assert reply.left_out == dict.fromkeys(unlearned, "chooser learned recommendation,search only")
    one = ask(home, "shop", "chooser", Wish("u03"), parameters={"learn": "image_generation"})
    assert list(one.said) == ["image_generation"]
    assert one.left_out["preference"] == "there is no item to speak of; give --item"
    said_once = r"\(recommendation, search, preference, explanation, image_generation: chooser learned selection only\)"
    with pytest.raises(ConfigError, match=f"runner 'chooser' has nothing to say here {said_once}"):
        ask(home, "shop", "chooser", Wish("u03", item="i02"), parameters={"learn": "selection"})


def test_what_fails_is_not_left_out(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"^fits/1 lacks 'tower'; fit it again$"):
        ask(home, "shop", "damaged", Wish("u03", item="i02"))


def test_unknown_users_and_items_are_answered_with_the_nearest(home: Home) -> None:
    with pytest.raises(UnknownNameError, match="unknown user 'u03x'; did you mean u03"):
        ask(home, "shop", "looker", Wish("u03x"))
    with pytest.raises(UnknownNameError, match="unknown item 'i2'; did you mean i"):
        ask(home, "shop", "looker", Wish("u03", item="i2"))
    for wish in (Wish("NOBODY"), Wish("u03", item="NOTHING")):
        with pytest.raises(UnknownNameError, match=r"unknown (user|item) 'NO[A-Z]+'; known: ") as caught:
            ask(home, "shop", "looker", wish)
        assert len(re.findall(r"\b[ui]\d\d\b", str(caught.value))) == 5


def test_without_a_test_example_all_visible_rows_are_the_history(home: Home) -> None:
    """Train rows come from the log, the validation row from three tasks' validation examples."""
    folder = home.dataset("shop")
    for task in ("recommendation", "preference", "explanation", "selection", "search", "image_generation"):
        path = folder / f"visible/tasks/{task}/test.examples.parquet"
        tables.write(tables.read(path, EXAMPLES).filter(pl.col("user_id") != "u03"), path, EXAMPLES)
    data = Dataset.open(home, "shop")
    subject = subject_of(data, "u03")
    rows = interactions().filter(user_id="u03").sort("position")[:-1]
    assert [entry["item_id"] for entry in subject.history] == rows["item_id"].to_list()
    assert [entry["rating"] for entry in subject.history] == rows["rating"].to_list()
    assert [entry["explanation"] for entry in subject.history] == rows["explanation"].to_list()
    assert (subject.cohort, subject.position) == ("in_domain", 7)
    reply = ask(home, "shop", "looker", Wish("u03"))
    assert reply.left_out == dict.fromkeys(("search", "image_generation"), "there is no query; give --query")
    log = folder / "visible/interactions.parquet"
    tables.write(tables.read(log, INTERACTIONS).filter(pl.col("user_id") != "u24"), log, INTERACTIONS)
    assert subject_of(data, "u24").cohort == "new_domain"


def test_nothing_sealed_is_opened(home: Home) -> None:
    sealed = home.dataset("shop") / "sealed"
    sealed.rename(sealed.with_name("elsewhere"))
    assert ask(home, "shop", "looker", Wish("u03")).said["recommendation"]


def test_the_sheet_shows_the_drawn_picture(home: Home) -> None:
    data = Dataset.open(home, "shop")
    reply = ask(home, "shop", "looker", Wish("u03"))
    page = Image.open(BytesIO(contact_sheet.of_reply(data, reply))).convert("RGB")
    assert (1, 2, 250) in {colour for _, colour in page.getcolors(1 << 24) or ()}
    less = Image.open(BytesIO(contact_sheet.of_reply(data, ask(home, "shop", "onlylists", Wish("u03")))))
    assert less.height < page.height
