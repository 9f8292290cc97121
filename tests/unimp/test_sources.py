"""Rows that are learned before the users' own: bare histories, items by their words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.unimp import learning_shop
from unimp.batching import Plan
from unimp.sources import PASSAGE, Histories, Searches


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
    shop, vocabulary = rows.shop, rows.writer.vocabulary
    queries = ("kind 1", "red ones", "thing 4")  # of some items, of none, of one
    shop = dataclasses.replace(shop, log=dataclasses.replace(shop.log, queries=queries))
    asked: list[str] = []
    rows.writer.question = _noting(rows.writer.question, asked)  # type: ignore[method-assign]
    searches = Searches(shop, rows.writer, 512, seed=0)
    counts, passages, logged = np.zeros(len(shop.items)), 0, set()
    for epoch in range(60):
        for number in range(len(searches)):
            (row,) = searches.row(number, epoch)
            (answer,) = [i for i, label in zip(row.ids, row.labels, strict=True) if label >= 0]
            item = answer - vocabulary.item_ids.start
            query, words = asked.pop(), shop.items.bodies[item].lower().split()
            assert set(query.split()) <= set(words)  # so "red ones" is never asked
            assert row.ends == [1]  # nobody's history
            if query in queries:
                logged.add((query, item))
            else:
                counts[item] += 1
                passages += 1
                assert 1 <= len(query.split()) <= PASSAGE
                assert query in " ".join(dict.fromkeys(words))
    bought = 1 + np.bincount(shop.log.item, minlength=len(shop.items))
    assert np.abs(counts / counts.sum() - bought / bought.sum()).max() < 0.05
    assert {item for query, item in logged if query == "kind 1"} == {1, 4, 7, 10}
    assert {item for query, item in logged if query == "thing 4"} == {4}
    assert 0.5 < passages / (60 * len(searches)) < 0.85
    assert searches.row(3, 1)[0].ids == searches.row(3, 1)[0].ids


def _noting(question, passages):
    def noted(task, example):
        passages.append(example.query)
        return question(task, example)

    return noted
