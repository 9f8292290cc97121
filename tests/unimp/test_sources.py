"""Rows that are learned before the users' own: bare histories, items by their words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.unimp import learning_shop
from unimp.batching import Plan
from unimp.sources import Histories, Pictures, Searches, log_examples, words_of
from unimp.stages import long_enough
from unimp_bench.tasks.search import QUERY_STYLES

ai2017 = QUERY_STYLES["ai2017"]


def _histories(most: int) -> Histories:
    rows = learning_shop.rows(learning_shop.shop(users=12))
    style = dataclasses.replace(rows.writer.style, context="id", history=0, earlier=most)
    writer = rows.writer
    writer.style = style
    return Histories(rows.shop, writer, Plan({}, 512), seed=0)


def test_a_row_is_a_user_with_the_items_in_their_order() -> None:
    rows = _histories(50)
    log, vocabulary = rows.shop.log, rows.writer.vocabulary
    assert len(rows) == log.users
    for user in range(log.users):
        (row,) = rows.row(user, 0)
        bought = log.item[log.offsets[user] : log.offsets[user + 1]]
        assert [i - vocabulary.item_ids.start for i in row.ids if i in vocabulary.item_ids] == bought.tolist()
        assert row.branches == 0


def test_a_long_history_shows_another_stretch_each_epoch() -> None:
    rows = _histories(2)
    log, vocabulary = rows.shop.log, rows.writer.vocabulary
    user = int(np.argmax(np.diff(log.offsets)))
    bought = log.item[log.offsets[user] : log.offsets[user + 1]].tolist()
    stretches = set()
    for epoch in range(30):
        (row,) = rows.row(user, epoch)
        shown = [i - vocabulary.item_ids.start for i in row.ids if i in vocabulary.item_ids]
        assert any(shown == bought[k : k + 2] for k in range(len(bought) - 1))
        stretches.add(tuple(shown))
    assert len(stretches) > 1
    assert tuple(bought[-2:]) in stretches  # the newest are learned from too
    assert rows.row(user, 3)[0].ids == rows.row(user, 3)[0].ids


def test_lengths_foretell_rows() -> None:
    rows = _histories(50)
    real = np.array([len(rows.row(k, 0)[0]) for k in range(len(rows))])
    assert np.abs(rows.lengths() - real).max() <= 0.35 * real.max()


def test_searches_are_answered_by_items_with_their_words_and_popular_ones_more_often() -> None:
    rows = learning_shop.rows(learning_shop.shop(users=12))
    vocabulary = rows.writer.vocabulary
    queries = ("Kind's 1", "red ones", "thing 4")  # of some items, of none, of one
    bodies = tuple(f"Title thing {k} of kinds {k % 3} {'square' if k < 6 else 'round'}{k}" for k in range(12))
    shop = dataclasses.replace(
        rows.shop,
        log=dataclasses.replace(rows.shop.log, queries=queries, item=np.minimum(rows.shop.log.item, 10)),
        items=dataclasses.replace(rows.shop.items, bodies=bodies),
    )
    asked: list[str] = []
    rows.writer.question = _noting(rows.writer.question, asked)  # type: ignore[method-assign]
    searches = Searches(shop, rows.writer, 512, seed=0)
    counts, passages, logged = np.zeros(len(shop.items)), 0, set()
    for epoch in range(60):
        for number in range(len(searches)):
            (row,) = searches.row(number, epoch)
            (answer,) = [i for i, label in zip(row.ids, row.labels, strict=True) if label >= 0]
            item = answer - vocabulary.item_ids.start
            query = asked.pop()
            assert row.ends == [1]  # nobody's history
            if query in queries:
                logged.add((query, item))
            else:
                counts[item] += 1
                passages += 1
                assert query == f"{'square' if item < 6 else 'round'}{item}"  # what tells nothing is not asked
    bought = 1 + np.bincount(shop.log.item, minlength=len(shop.items))
    expected = bought / bought.sum() / 2 + 1 / len(bought) / 2  # half as popular, half in turn: nobody bought the last
    assert np.abs(counts / counts.sum() - expected).max() < 0.05
    assert counts[-1] > 5
    assert {item for query, item in logged if query == "Kind's 1"} == {1, 4, 7, 10}
    assert {item for query, item in logged if query == "thing 4"} == {4}
    assert not any(query == "red ones" for query, _ in logged)
    assert 0.5 < passages / (60 * len(searches)) < 0.85
    assert searches.row(3, 1)[0].ids == searches.row(3, 1)[0].ids
    lengths = searches.lengths()
    assert all(len(searches.row(k, 2)[0]) <= lengths[k] + 2 for k in range(len(searches)))


def test_words_are_parted_as_those_of_queries() -> None:
    path = ["Clothing", "Women's Shoes", "Men\u2019s & Kids' Sandals_new"]
    assert " ".join(words_of(" ".join(path))) == ai2017(path)


def _noting(question, passages):
    def noted(task, example):
        passages.append(example.query)
        return question(task, example)

    return noted


def test_epochs_take_turns_with_sets_of_questions_about_pictures() -> None:
    given = learning_shop.rows(learning_shop.shop())
    given.writer.codes = np.arange(learning_shop.ITEMS)[:, None]  # an item's one code is its number
    asked = log_examples(given.shop, "search", 0, 0, lambda item: True)[:5]
    rows = Pictures(given.shop, given.writer, asked, np.full((5, 2), -1), 256, 3, drawings=2)
    wanted = [example.answer_items[0] for example in asked]

    def drawn(epoch: int) -> list[int]:
        first = given.writer.vocabulary.pictures.start
        return [rows.row(number, epoch)[0].ids[-1] - first for number in range(len(rows))]

    assert drawn(0) == drawn(2) == [wanted[k] for k in (0, 2, 4)]
    assert drawn(1) == [wanted[k] for k in (1, 3, 0)]  # filled up from the first


@pytest.mark.parametrize(
    ("passes", "steps", "least", "wanted"),
    [
        (6, 92.0, 540, 6),
        (6, 29.0, 540, 19),
        (6, 0.2, 20, 20),
        (2, 0.0, 1, 2),
        (0.9, 92.0, 81, 0.9),
        (0.3, 92.0, 46, 0.5),
    ],
)
def test_a_small_shop_has_more_epochs_of_pictures(passes: float, steps: float, least: int, wanted: float) -> None:
    assert long_enough(passes, steps, least) == wanted
