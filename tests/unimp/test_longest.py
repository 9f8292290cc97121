"""Rows stay within what a body reads: the oldest items go first, then words of the question; what went is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.unimp import learning_shop
from tests.unimp.training_runs import run
from unimp.batching import Rows, example_of
from unimp.decoding import Decoder
from unimp.prompts import JOINT, PAPER
from unimp.recipe import Recipe
from unimp.sequence import Row, Writer
from unimp.shop import Example

LONGEST = 96


def rows_of(body: int, longest: int = LONGEST, **questions: int) -> Rows:
    """Rows of the small shop whose items have so many ids of words."""
    made = learning_shop.rows(questions=questions)
    style, old = replace(made.writer.style, longest=longest), made.writer
    bodies = [np.full(body, 5, np.int32) for _ in old.bodies]
    writer = Writer(old.vocabulary, bodies, old.titles, learning_shop.encode, style, codes=old.codes)
    return Rows(made.shop, writer, made.plan, made.seed)


def asked_of(rows: Rows, task: str) -> Example:
    """A question with a history of four items."""
    log = rows.shop.log
    if task == "selection":
        one = rows.shop.selection[0]
    else:
        one = replace(example_of(log, 4), query="red ones", answer_text="good")
    return replace(one, history=log.item[:4], ratings=log.rating[:4], whys=log.why[:4])


def last(row: Row) -> int:
    return max(row.positions)


def asking(decoder: Decoder, task: str, one: Example) -> None:
    """Put one question, as answering does."""
    if task in ("recommendation", "search"):
        decoder.rank(task, [one])
    elif task == "preference":
        decoder.rate([one])
    elif task == "selection":
        decoder.choose([one])
    else:
        decoder.explain([one], lambda ids: "")


@pytest.mark.parametrize("longest", range(66, 200, 9))
@pytest.mark.parametrize("task", ["recommendation", "search", "preference", "explanation", "selection"])
def test_what_is_trained_sees_the_history_that_is_asked_about(task: str, longest: int) -> None:
    rows = rows_of(20, longest)
    example = asked_of(rows, task)
    trained = rows.writer.row(task, example)
    decoder = Decoder(learning_shop.model(), rows.writer, learning_shop.patches, learning_shop.HAS_PICTURE)
    asking(decoder, task, example)
    assert trained.dropped == decoder.dropped
    asked = decoder.prompt(task, example)
    assert trained.ends == asked.ends and trained.ids[: len(asked)] == asked.ids
    assert last(trained) < longest and last(asked) + rows.writer.room(task) < longest


def test_no_answer_is_longer_than_the_room_that_is_kept_for_it() -> None:
    rows = rows_of(3)
    for joint in (False, True):
        words = JOINT if joint else PAPER
        rows.writer.style = replace(rows.writer.style, joint=joint, words=words, most_words=7)
        for task in ("recommendation", "search", "preference", "explanation", "selection"):
            long = replace(asked_of(rows, task), answer_text="word " * 50, answer_rating=4.0)
            chosen = replace(long, candidates=tuple(range(6)), answer_items=tuple(range(6)))
            assert len(rows.writer.answer(task, chosen)) <= rows.writer.room(task) < 12, task


def test_rows_of_the_log_and_of_selection_stay_within() -> None:
    rows = rows_of(20, recommendation=0, search=0, preference=0, explanation=0, selection=1)
    written = [row for number in range(len(rows)) for row in rows.row(number, 0)]
    assert any(row.dropped for row in written) and len(written) == len(rows)
    assert max(map(last, written)) < LONGEST
    apart = Rows(rows.shop, rows.writer, replace(rows.plan, separate=True), rows.seed)
    assert max(last(row) for number in range(len(apart)) for row in apart.row(number, 0)) < LONGEST


@pytest.mark.parametrize(("task", "body"), [("selection", 90), ("preference", 300), ("explanation", 300)])
def test_a_question_longer_than_all_there_is_has_fewer_words_of_its_items(task: str, body: int) -> None:
    rows = rows_of(body)
    example = asked_of(rows, task)
    piece = rows.writer.question(task, example)
    needed = 1 + len(piece.ids) + rows.writer.room(task)
    assert LONGEST - len(example.candidates or (0,)) <= needed <= LONGEST  # no more is cut than must be
    names = rows.writer.vocabulary.item_ids
    repeated = [i - names.start for i in piece.ids if i in names]
    assert repeated == list(example.candidates or (example.target,))  # all of them still have their names


def test_a_query_longer_than_all_there_is_is_cut() -> None:
    rows = rows_of(3)
    example = replace(asked_of(rows, "search"), query="red ones and " * 400)
    row = rows.writer.row("search", example)
    short = rows.writer.question("search", replace(example, query="red ones and red"))
    assert last(row) < LONGEST and row.dropped == 4
    text = rows.writer.question("search", example).ids
    assert text[:4] == short.ids[:4] and text[-3:] == short.ids[-3:]  # its first words, and all that stands around


def test_what_was_dropped_in_training_is_told(tmp_path: Path) -> None:
    plain, long = rows_of(3, recommendation=0), rows_of(20, recommendation=0)
    recipe = Recipe(epochs=2, lr=1e-3)
    assert run(tmp_path / "plain", recipe, rows=plain)[1].dropped == 0
    found = run(tmp_path / "long", recipe, rows=long)[1].dropped
    assert found == sum(row.dropped for epoch in (0, 1) for n in range(len(long)) for row in long.row(n, epoch)) > 0


def test_rows_that_find_their_place_are_written_as_ever() -> None:
    near, far = (rows_of(3, longest=longest, recommendation=0, search=0) for longest in (400, 100_000))
    for number in range(len(near)):
        (one,), (other,) = near.row(number, 1), far.row(number, 1)
        assert (one.ids, one.positions, one.labels, one.items) == (
            other.ids,
            other.positions,
            other.labels,
            other.items,
        )


def test_the_decoder_counts_what_it_dropped() -> None:
    rows = rows_of(20)
    model = learning_shop.model()
    decoder = Decoder(model, rows.writer, learning_shop.patches, learning_shop.HAS_PICTURE)
    decoder.rank("recommendation", [asked_of(rows, "recommendation")] * 2)
    assert decoder.dropped > 0 and decoder.dropped % 2 == 0
