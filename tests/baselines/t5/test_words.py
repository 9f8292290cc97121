"""P5's words: numbers of items, pieces, whole words, wordings, windows, and where visual tokens stand."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest

if any(find_spec(name) is None for name in ("torch", "transformers", "tokenizers")):
    pytest.skip("needs PyTorch and transformers: pip install -e '.[unimp]'", allow_module_level=True)

from tests.baselines.t5 import pieces
from unimp_baselines.t5 import numbering
from unimp_baselines.t5.prompts import WORDINGS, parts
from unimp_baselines.t5.questions import Question, Rows, questions

PLACES = {
    "recommendation": {"who", "bought"},
    "preference": {"who", "rated", "item", "title"},
    "explanation": {"who", "rated", "item", "title"},
    "selection": {"who", "bought", "choices"},
}


def test_every_wording_has_all_places_of_its_task_and_nothing_else() -> None:
    for task, wordings in WORDINGS.items():
        assert len(wordings) == len(set(wordings)) == 5
        for wording in wordings:
            found = [part[1:-1] for part in parts(wording) if part.startswith("{")]
            assert sorted(found) == sorted(PLACES[task])  # each once, apart from words


def test_drawn_numbers_depend_on_ids_and_seed_alone() -> None:
    items = pl.Series(pieces.ITEMS)
    assert numbering.drawn(items, 3) == numbering.drawn(items.reverse(), 3)
    assert numbering.drawn(items, 3) != numbering.drawn(items, 4)
    assert sorted(numbering.drawn(items, 3)) == list(pieces.ITEMS)


def test_sequential_numbers_run_through_a_user_up_to_the_validation_answer() -> None:
    rows = pl.LazyFrame(
        {"user_id": ["b", "a", "a", "b"], "position": [0, 1, 0, 1], "item_id": ["i4", "i7", "i2", "i2"]}
    )
    valid = pl.LazyFrame({"user_id": ["a", "c"], "item_ids": [["i9"], ["i1"]]})
    walked = numbering.walks(rows, valid)
    assert walked == [["i2", "i7", "i9"], ["i4", "i2"]]
    order = numbering.by_appearance(walked, ["i1", "i2", "i4", "i7", "i9", "i0"])
    assert order == ["i2", "i7", "i9", "i4", "i1", "i0"]
    assert numbering.by_appearance([["gone", "i2"]], ["i1", "i2"]) == ["i2", "i1"]


def test_what_numbers_alone_tell() -> None:
    places = {f"i{k}": k for k in range(30)}
    assert numbering.ndcg10_by_number(places, [(["i0", "i1"], "i2")]) == 1.0
    assert numbering.ndcg10_by_number(places, [(["i5"], "i7"), (["i5"], "i4")]) == pytest.approx(0.5 / np.log2(3))
    assert numbering.ndcg10_by_number(places, [(["i6", "i5"], "i7")]) == 1.0  # i6 is seen
    assert numbering.ndcg10_by_number(places, [(["i5"], "i15")]) == pytest.approx(1 / np.log2(11))
    assert numbering.ndcg10_by_number(places, [(["i5"], "i16")]) == 0.0
    assert numbering.ndcg10_by_number(places, [([], "i16")]) is None


@pytest.mark.parametrize(("count", "width", "last"), [(20, 2, 1020), (8_999, 2, 9_999), (9_000, 3, 109_000)])
def test_numbers_are_equally_long_pairs_of_digits(count: int, width: int, last: int) -> None:
    assert numbering.pairs(count) == width
    assert int("".join(f"{pair:02d}" for pair in numbering.split(count - 1, width))) == last


@pytest.mark.parametrize("atomic", [False, True])
def test_ids_are_distinct_and_none_is_text(atomic: bool) -> None:
    own = pieces.known(atomic=atomic)
    codes = own.item_codes()
    assert codes.shape == (20, 1 if atomic else 3)
    assert len(np.unique(codes, axis=0)) == 20
    assert codes.min() >= own.text_rows
    assert codes.max() < own.text_rows + own.added
    assert own.picture not in codes


def test_text_cannot_make_an_item_and_comes_back_as_it_was() -> None:
    own = pieces.known()
    said = own.sentence("item_1001  s_0 <image> Ünïcode 日本 train")
    assert max(said) < own.text_rows
    assert own.written(said) == "item_1001 s_0 <image> Ünïcode 日本 train"


def test_a_question_in_pieces_and_whole_words() -> None:
    own = pieces.known()
    reader = pieces.reader(own)
    asked = Question("recommendation", "bob", (("i00", None), ("i05", None)))
    read = reader.read(reader.words(asked, "{who} took {bought} then", named=True))
    user, first, second = own.user("bob"), own.item("i00"), own.item("i05")
    assert user is not None
    in_order = [*user, *own.text("took"), *first, *own.text(","), *second, *own.text("then")]
    assert read.tokens == [*(piece for word, _ in in_order for piece in word), 1]
    assert read.wholes == [*(k for k, (word, _) in enumerate(in_order, 1) for _ in word), 0]
    assert len(first[0][0]) == 3  # three pieces of one whole word


def test_who_is_not_known_is_not_named_and_known_users_only_when_asked() -> None:
    reader = pieces.reader(pieces.known())
    stranger, known = (Question("recommendation", user, (("i00", None),)) for user in ("nobody", "ann"))
    marker = reader.vocabulary.text_rows + 2
    assert marker not in reader.asked(stranger, unseen=False, named=True).tokens
    assert marker in reader.asked(known, unseen=False, named=True).tokens
    assert reader.asked(known, unseen=False, named=False) == reader.asked(stranger, unseen=False, named=True)


def test_answers_of_each_task_and_five_stars_among_them() -> None:
    own = pieces.known()
    reader = pieces.reader(own)
    history = (("i00", 4.0),)
    ask = {
        "recommendation": Question("recommendation", "ann", history, answer="i03"),
        "preference": Question("preference", "ann", history, "i01", answer=5.0),
        "explanation": Question("explanation", "ann", history, "i01", answer="Blue train"),
        "selection": Question("selection", "ann", history, None, ("i04", "i05", "i06"), frozenset({"i06", "i04"})),
    }
    assert reader.answer(ask["recommendation"]) == [*own.item_pieces(3), 1]
    assert reader.answer(ask["preference"]) == [own.text_rows + 7, 1]
    assert own.written(reader.answer(ask["explanation"])[:-1]) == "Blue train"
    assert reader.answer(ask["selection"]) == [own.label(0)[0][0], own.label(2)[0][0], 1]
    assert [own.rating(stars)[0][0] - own.text_rows - 2 for stars in (1.0, 2.5, 4.4, 5.0)] == [1, 3, 4, 5]


def test_a_question_never_holds_its_answer() -> None:
    reader = pieces.reader(pieces.known())
    history = (("i00", 4.0), ("i02", 1.0))
    for answer in (1.0, 5.0):
        asked = Question("preference", "ann", history, "i01", answer=answer)
        other = Question("preference", "ann", history, "i01")
        assert reader.asked(asked, unseen=False, named=True) == reader.asked(other, unseen=False, named=True)
    said = [Question("explanation", "ann", history, "i01", answer=a) for a in ("the wheel is good", "bad colour")]
    rngs = [np.random.default_rng(0) for _ in said]
    lessons = [reader.lesson(q, rng, 0.0)[0] for q, rng in zip(said, rngs, strict=True)]
    assert lessons[0] == lessons[1]


def test_training_never_uses_the_wording_that_is_kept_for_later() -> None:
    reader = pieces.reader(pieces.known())
    asked = Question("recommendation", "ann", (("i00", None),), answer="i01")
    unseen = reader.asked(asked, unseen=True, named=True)
    rng = np.random.default_rng(0)
    drawn = [reader.lesson(asked, rng, 0.0)[0] for _ in range(60)]
    assert unseen not in drawn
    assert len({tuple(read.tokens) for read in drawn}) == 4


def test_shuffled_choices_keep_their_right_answers() -> None:
    reader = pieces.reader(pieces.known())
    choices, right = ("i04", "i05", "i06"), frozenset({"i06"})
    asked = Question("selection", "ann", (("i00", None),), None, choices, right)
    rng = np.random.default_rng(0)
    own, places = reader.vocabulary, set()
    for _ in range(20):
        read, answer = reader.lesson(asked, rng, 0.0)
        label = read.tokens.index(answer[0])
        assert tuple(read.tokens[label + 1 : label + 4]) == own.item_pieces(6)
        places.add(answer[0])
    assert len(places) == 3


def test_visual_tokens_stand_right_after_the_mention_in_the_same_whole_word() -> None:
    own = pieces.known()
    reader = pieces.reader(own, pictures=2, pictured=("i05", "i00"))
    asked = Question("preference", "ann", (("i00", 4.0), ("i03", 2.0)), "i05")
    read = reader.asked(asked, unseen=False, named=True)
    assert read.shown == ["i00", "i05"]  # i03 has no picture
    holds = [k for k, token in enumerate(read.tokens) if token == own.picture]
    assert len(holds) == 4
    for item, at in (("i00", holds[0]), ("i05", holds[2])):
        place = own.place(item)
        assert place is not None
        assert tuple(read.tokens[at - 3 : at]) == own.item_pieces(place)
        assert len(set(read.wholes[at - 3 : at + 2])) == 1
        assert read.tokens[at + 1] == own.picture
    assert reader.batch([read], None).shown.tolist() == [1, 0]


def test_windows_are_drawn_as_p5_draws_them() -> None:
    rows, rng = Rows("ann", tuple(map(str, range(10)))), np.random.default_rng(0)
    drawn = [rows.window(20, "last3", rng) for _ in range(300)]
    assert {q.answer for q in drawn} == {"7", "8", "9"}
    assert {q.history[0][0] for q in drawn} == {"0", "1", "2"}
    assert all(int(q.history[-1][0]) == int(q.answer) - 1 for q in drawn)
    anywhere = [rows.window(3, "any", rng) for _ in range(500)]
    assert {q.answer for q in anywhere} == set(map(str, range(1, 10)))
    assert max(len(q.history) for q in anywhere) == 3
    shortest = Rows("ann", ("0", "1")).window(20, "last3", rng)
    assert (shortest.history, shortest.answer) == ((("0", None),), "1")


def test_questions_of_examples_show_the_last_of_the_history() -> None:
    entry = [{"item_id": f"i{k:02d}", "rating": float(k), "explanation": None} for k in range(1, 4)]
    columns = {"user_id": ["ann"], "history": [entry], "target_item_id": ["i09"], "candidates": [None]}
    (asked,) = questions("preference", pl.DataFrame(columns), 2)
    assert asked == Question("preference", "ann", (("i02", 2.0), ("i03", 3.0)), "i09")
