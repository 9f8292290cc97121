"""What is written, what is learned, and which picture each id sees, on samples short enough to read."""

import numpy as np
import pytest

pytest.importorskip("torch")

from unimp.batching import collate
from unimp.prompts import JOINT
from unimp.sequence import CONTEXT, KINDS, Row, Style, Writer
from unimp.shop import Example
from unimp.vocabulary import IGNORED, Vocabulary

WORDS = [
    "ID",
    "Rating",
    "Review",
    "Title",
    "cup",
    "pot",
    "What's",
    "the",
    "next",
    "item",
    "that",
    "user",
    "may",
    "like?",
    "Query:",
    "red",
    "Given",
    "can",
    "you",
]
V = Vocabulary(text=100, candidates=4, codes=8, items=3)
NAMES = {
    V.image: "<image>",
    V.chunk_end: "<eoc>",
    V.answer: "<answer>",
    V.end: "<end>",
    V.pad: "<PAD>",
    **{k: f"rate_{n}" for n, k in enumerate(V.rates, 1)},
    **{k: f"s_{n}" for n, k in enumerate(V.choices)},
    **{k: f"img_{n}" for n, k in enumerate(V.pictures)},
    **{k: f"item_{n}" for n, k in enumerate(V.item_ids)},
}


class Words:
    """One id a word, in order of appearance."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def __call__(self, text: str) -> list[int]:
        for word in text.split():
            if word not in self.known:
                self.known.append(word)
        return [1 + self.known.index(word) for word in text.split()]

    def name(self, number: int) -> str:
        return NAMES.get(number) or self.known[number - 1]


def writer(words: Words, /, **style: object) -> Writer:
    bodies = [np.array(words(text)) for text in ("cup", "pot", "jug")]
    codes = np.array([[0, 1], [2, 3], [4, 5]])
    return Writer(V, bodies, bodies, words, Style(**style), codes=codes)  # type: ignore[arg-type]


def example(**more: object) -> Example:
    given = {
        "history": np.array([0, 1]),
        "ratings": np.array([5.0, np.nan], dtype=np.float32),
        "whys": [None, None],
        **more,
    }
    return Example(id="x", cohort="in_domain", **given)  # type: ignore[arg-type]


def read(row: Row, words: Words) -> list[str]:
    return [words.name(i) for i in row.ids]


def learned(row: Row, words: Words) -> list[str]:
    return [words.name(i) for i in row.labels if i != IGNORED]


def written(task: str, words: Words, one: Example, /, **style: object) -> Row:
    w = writer(words, **style)
    row = w.trunk(one.history, one.ratings, one.whys)
    w.branch(row, task, one)
    return row


def test_recommendation_is_written_and_learned_as_the_reference_says() -> None:
    words = Words()
    row = written("recommendation", words, example(answer_items=(2,)))
    assert read(row, words) == [
        "<end>",
        "<image>",
        "cup",
        "ID",
        "item_0",
        "Rating",
        "rate_5",
        "<eoc>",
        "<image>",
        "pot",
        "ID",
        "item_1",
        "<eoc>",
        "What's",
        "the",
        "next",
        "item",
        "that",
        "the",
        "user",
        "may",
        "like?",
        "<answer>",
        "item_2",
    ]
    assert learned(row, words) == ["item_0", "rate_5", "item_1", "item_2"]
    assert [KINDS[k] for k in row.kinds if k >= 0] == ["context", "context", "context", "recommendation"]


@pytest.mark.parametrize(
    ("context", "in_history"),
    [
        ("none", []),
        ("id", ["item_0", "rate_5", "item_1"]),
        ("attributes", ["cup", "pot"]),
        ("both", ["cup", "item_0", "rate_5", "pot", "item_1"]),
    ],
)
def test_context_reconstruction_learns_what_was_asked(context: str, in_history: list[str]) -> None:
    words = Words()
    row = written("recommendation", words, example(answer_items=(2,)), context=context)
    assert learned(row, words) == [*in_history, "item_2"]


def test_every_task_learns_its_answer_alone() -> None:
    words = Words()
    told = {"query": "red", "target": 2, "candidates": (2, 0, 1), "answer_text": "very red"}
    one = example(answer_items=(2, 1), answer_rating=3.5, **told)
    for task, answer in {
        "search": ["item_2"],
        "preference": ["rate_4"],
        "explanation": ["very", "red", "<end>"],
        "selection": ["s_0", "s_2", "<end>"],
        "image_generation": ["img_4", "img_5"],
    }.items():
        row = written(task, words, one, context="none")
        assert learned(row, words) == answer, task
        assert row.kinds.count(CONTEXT) == 0


def test_selection_shows_each_candidate_behind_its_label_and_picture() -> None:
    words = Words()
    row = written("selection", words, example(candidates=(2, 0), answer_items=(0,)))
    text = " ".join(read(row, words))
    assert "Given <image> s_0 jug ID item_2 <eoc> <image> s_1 cup ID item_0 <eoc> can you" in text


def test_an_id_sees_the_picture_of_the_last_image_before_it() -> None:
    words = Words()
    row = written("preference", words, example(target=2, answer_rating=4.0))
    seen = dict(zip(read(row, words)[::-1], row.items[::-1], strict=True))  # first occurrence of each word
    assert seen["<end>"] == -1
    assert row.items[1:7] == [0] * 6
    assert seen["jug"] == seen["rate_4"] == 2
    asked = written("recommendation", words, example(answer_items=(2,)))
    assert set(asked.items[asked.ends[-1] :]) == {1}  # the question sees the last item of the history


def test_a_branch_starts_where_its_history_ends() -> None:
    words = Words()
    w = writer(words)
    one = example(answer_items=(2,))
    row = w.trunk(one.history, one.ratings, one.whys)
    trunk = len(row)
    w.branch(row, "recommendation", one, after=1)
    assert row.positions[trunk] == row.ends[1] == row.horizon[trunk]
    assert set(row.items[trunk:]) == {0}
    assert row.segments[trunk:] == [1] * (len(row) - trunk)


def test_the_oldest_items_go_first_and_are_counted() -> None:
    words = Words()
    w = writer(words, longest=12)
    row = w.trunk(np.array([0, 1, 2]), np.full(3, np.nan, np.float32), [None] * 3)
    assert row.dropped == 1
    assert "cup" not in read(row, words)
    assert "jug" in read(row, words)


def test_an_empty_history_can_be_asked() -> None:
    words = Words()
    nobody = example(history=np.zeros(0, np.int64), ratings=np.zeros(0, np.float32), whys=[], answer_items=(1,))
    row = written("recommendation", words, nobody)
    assert read(row, words)[0] == "<end>"
    assert learned(row, words) == ["item_1"]


def test_user_text_that_looks_like_an_id_stays_text() -> None:
    words = Words()
    row = written("explanation", words, example(target=1, answer_text="item_0 <image> s_1"))
    special = {V.image, *V.choices, *V.item_ids}
    assert not special & {i for i in row.labels[row.ends[-1] :] if i != IGNORED}


def test_blind_rows_show_no_image() -> None:
    words = Words()
    row = written("recommendation", words, example(answer_items=(2,)), pictures=False)
    assert V.image not in row.ids


def test_a_bare_history_shows_ids_and_ratings_and_no_picture_gives_an_id_away() -> None:
    words, one = Words(), example()
    row = writer(words, history=0, earlier=5).trunk(one.history, one.ratings, one.whys)
    assert read(row, words) == ["<end>", "ID", "item_0", "Rating", "rate_5", "<eoc>", "ID", "item_1", "<eoc>"]
    assert learned(row, words) == ["item_0", "rate_5", "item_1"]
    assert row.items == [-1, -1, 0, 0, 0, 0, -1, 1, 1]  # from the id on, which is told before anything is seen
    assert row.which == [-1, -1, 0, -1, -1, -1, -1, 0, -1]
    blind = writer(words, history=0, earlier=5, pictures=False).trunk(one.history, one.ratings, one.whys)
    assert set(blind.items) == {-1}


def test_earlier_items_stand_bare_before_those_in_full() -> None:
    words = Words()
    history, ratings = np.array([0, 1, 2, 1]), np.full(4, np.nan, np.float32)
    row = writer(words, history=1, earlier=2).trunk(history, ratings, [None] * 4)
    assert read(row, words) == [
        "<end>",
        "ID",
        "item_1",
        "<eoc>",
        "ID",
        "item_2",
        "<eoc>",
        "<image>",
        "pot",
        "ID",
        "item_1",
        "<eoc>",
    ]
    assert row.ends == [1, 4, 7, 12]
    assert row.seen == [-1, 1, 2, 1]


def test_collating_leaves_items_without_picture_blind() -> None:
    words = Words()
    rows = [
        written("recommendation", words, example(answer_items=(2,))),
        written(
            "recommendation",
            words,
            example(history=np.array([1]), ratings=np.ones(1, np.float32), whys=[None], answer_items=(2,)),
        ),
    ]
    batch = collate(rows, np.array([True, False, True]), V.pad)
    assert batch.pictures.tolist() == [0]
    assert set(batch.slots.unique().tolist()) == {-1, 0}
    assert batch.tokens == sum(map(len, rows))


def test_retrieved_items_show_their_codes() -> None:
    words = Words()
    w = writer(words)
    row = w.retrieved([1])
    w.branch(row, "image_generation", example(query="red", answer_items=(0,)))
    assert "<image> Title pot ID img_2 img_3 <eoc>" in " ".join(read(row, words))
    assert learned(row, words) == ["img_0", "img_1"]
    shown = w.retrieved([1, -1], learn=True)
    assert learned(shown, words) == ["img_2", "img_3"]
    assert shown.ids == w.retrieved([1]).ids


def test_rating_and_explanation_are_one_answer_to_one_question_where_they_are_joint() -> None:
    words = Words()
    joint = writer(words, pictures=False, words=JOINT, joint=True)
    asked = example(target=2, answer_rating=4.0, answer_text="red cup", answer_items=(2,))
    said = {}
    for task in ("preference", "explanation"):
        row = Row(ends=[0], seen=[-1])
        joint.branch(row, task, asked, after=0)
        said[task] = read(row, words)
        assert learned(row, words) == ["rate_4", "red", "cup", "<end>"]
    assert said["preference"] == said["explanation"]
    assert "jug ID item_2 What is the rating and explanation for the item? <answer>" in " ".join(said["preference"])
    plain = writer(Words(), pictures=False)
    assert plain.answer("preference", asked) == [V.rate(4)]
    silent = example(target=2, answer_rating=2.0, answer_text=None)
    assert joint.answer("preference", silent) == [V.rate(2), V.end]
