from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unimp import learning_shop
from unimp.batching import Plan, Rows, collate, epoch_batches
from unimp.loading import Loader, continued, estimated_lengths, in_background, steps_of
from unimp.sequence import KINDS


def _all_rows(rows: Rows, epoch: int = 0) -> list[int]:
    return [sum(len(row) for row in rows.row(k, epoch)) for k in range(len(rows))]


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("questions", [{"recommendation": 0}, learning_shop.QUESTIONS])
def test_estimated_lengths_follow_real_ones(separate: bool, questions: dict[str, int]) -> None:
    rows = learning_shop.rows(learning_shop.shop(users=60), questions=questions, separate=separate)
    real, estimated = np.array(_all_rows(rows)), estimated_lengths(rows)
    assert len(estimated) == len(rows)
    assert estimated.sum() == pytest.approx(real.sum(), rel=0.1)
    assert np.corrcoef(real, estimated)[0, 1] > 0.7


def test_millions_of_users_are_planned_without_writing_their_rows(monkeypatch) -> None:
    rows = learning_shop.rows(learning_shop.shop(users=2000))
    written: list[int] = []
    plain = Rows.row
    monkeypatch.setattr(Rows, "row", lambda self, n, e: written.append(n) or plain(self, n, e))
    steps_of(rows, 0, 0, 1, 1)
    assert 0 < len(written) <= 64


def test_batches_hold_each_row_once_and_keep_to_the_size() -> None:
    lengths = np.random.default_rng(0).integers(1, 90, 500)
    for share in (1, 2, 7):
        batches = epoch_batches(lengths, 300, 1, 4, share)
        assert sorted(n for batch in batches for n in batch) == list(range(500))
        assert len(batches) % share == 0
        assert all(len(batch) * lengths[batch].max() <= 300 for batch in batches)
    assert epoch_batches(lengths, 300, 1, 4) == epoch_batches(lengths, 300, 1, 4)
    assert epoch_batches(lengths, 300, 1, 4) != epoch_batches(lengths, 300, 1, 5)
    padded = sum(len(b) * lengths[b].max() for b in epoch_batches(lengths, 300, 1, 4))
    assert lengths.sum() / padded > 0.9


def test_collate_pads_and_numbers_the_pictures_that_exist() -> None:
    rows = learning_shop.rows()
    written = [rows.row(0, 0)[0], rows.row(1, 0)[0]]
    batch = collate(written, learning_shop.HAS_PICTURE, rows.writer.vocabulary.pad)
    assert batch.tokens == sum(len(row) for row in written)
    for k, row in enumerate(written):
        n = len(row)
        assert batch.ids[k, :n].tolist() == row.ids
        assert (batch.ids[k, n:] == rows.writer.vocabulary.pad).all()
        assert (batch.labels[k, n:] == -100).all()
        seen = [int(batch.pictures[s]) if s >= 0 else -1 for s in batch.slots[k, :n]]
        assert seen == [i if i >= 0 and learning_shop.HAS_PICTURE[i] else -1 for i in row.items]
    allowed = batch.allowed()
    shorter = min(range(2), key=lambda k: len(written[k]))
    padding = allowed[shorter, len(written[shorter]) :]
    assert padding.sum() == len(padding)  # itself alone
    left = collate(written, learning_shop.HAS_PICTURE, rows.writer.vocabulary.pad, left=True)
    assert left.ids[:, -1].tolist() == [row.ids[-1] for row in written]


def test_continued_adds_tasks_and_keeps_a_quarter_of_users() -> None:
    order = ("recommendation", "search", "preference", "explanation")
    plan = Plan(dict.fromkeys(order, 1), 500)
    plan_of = continued(plan, 8, order)
    assert [len(plan_of(epoch).questions) for epoch in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    for epochs in (1, 3):  # fewer epochs than tasks: the last one has all of them nevertheless
        assert len(continued(plan, epochs, order)(epochs - 1).questions) == 4
    assert plan_of(0).users == {}
    assert plan_of(4).users == {"recommendation": 0.25, "search": 0.25}
    big = learning_shop.rows(learning_shop.shop(users=400))
    rows = Rows(big.shop, big.writer, plan_of(2), 3)
    asked = np.zeros((2, 400), dtype=bool)
    for user in range(400):
        for row in rows.row(user, 2):
            for task in (0, 1):
                asked[task, user] = task in row.kinds
    assert asked[1].all()
    assert 0.17 < asked[0].mean() < 0.33
    other = np.array([0 in rows.row(user, 3)[0].kinds for user in range(400)])
    assert (other != asked[0]).any()  # drawn anew each epoch


def test_some_searches_are_asked_with_their_last_words_alone() -> None:
    rows = learning_shop.rows(learning_shop.shop(users=60), questions={"search": 0})
    asked: list[str | None] = []
    branch = rows.writer.branch
    rows.writer.branch = lambda row, task, example, piece, **more: (
        asked.append(example.query)
        or branch(  # type: ignore[method-assign]
            row, task, example, piece, **more
        )
    )
    log = replace(rows.shop.log, queries=[f"outdoor {query} red shoes" for query in rows.shop.log.queries])
    shop = replace(rows.shop, log=log)
    for share in (0.0, 0.4):
        asked.clear()
        some = Rows(shop, rows.writer, replace(rows.plan, shortened=share), 3)
        for user in range(60):
            some.row(user, 0)
        whole = [query for query in asked if query in log.queries]
        assert all(query and any(full.endswith(query) for full in log.queries) for query in asked)
        assert abs(1 - len(whole) / len(asked) - share * 0.75) < 0.1  # one cut in four begins at the first word
    again = list(asked)
    asked.clear()
    for user in range(60):
        some.row(user, 0)
    assert asked == again


def test_where_selection_alone_is_asked_no_other_rows_are_read() -> None:
    rows = learning_shop.rows(learning_shop.shop(users=40))
    alone = Rows(rows.shop, rows.writer, Plan({"selection": 1}, 500), 3)
    assert len(alone) == len(rows.shop.selection)
    selection = KINDS.index("selection")
    assert all(selection in row.kinds for k in range(len(alone)) for row in alone.row(k, 0))
    assert len(estimated_lengths(alone)) == len(alone)


def test_selection_examples_keep_their_share_of_users() -> None:
    rows = learning_shop.rows(learning_shop.shop(users=400))
    some = Rows(rows.shop, rows.writer, Plan({"selection": 1}, 500, users={"selection": 0.25}), 3)
    kept = sum(bool(some.row(k, 0)) for k in range(200))
    assert 30 < kept < 70
    load = Loader(some, 0, learning_shop.HAS_PICTURE, learning_shop.patches)
    empty = [k for k in range(200) if not some.row(k, 0)][:3]
    assert len(load.load(0, empty).targets.labels) == 0  # nobody of a batch may be asked anything


def test_the_background_keeps_order_and_stops_with_its_reader() -> None:
    made: list[int] = []

    def slow():
        for k in range(1000):
            made.append(k)
            yield k

    reader = in_background(slow(), 3)
    assert [next(reader) for _ in range(5)] == list(range(5))
    reader.close()
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count < 20
    assert list(in_background(iter("abc"), 0)) == list(in_background(iter("abc"), 2)) == ["a", "b", "c"]


def test_the_same_batch_whenever_it_is_made() -> None:
    rows = learning_shop.rows()
    loader = Loader(rows, 2, learning_shop.HAS_PICTURE, learning_shop.patches)
    key, numbers = steps_of(rows, 2, 2, 1, 1)[0][0]
    first = loader.load(key, numbers)
    loader.load(0, [3])
    again = Loader(learning_shop.rows(), 2, learning_shop.HAS_PICTURE, learning_shop.patches).load(key, numbers)
    assert torch.equal(first.batch.ids, again.batch.ids)
    assert torch.equal(first.batch.labels, again.batch.labels)
