"""Rows that begin with what an item is."""

import platform

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tests.unimp import tiny
from unimp import memory
from unimp.batch import Batch
from unimp.batching import collate
from unimp.item_rows import ItemContent
from unimp.losses import supervised_places
from unimp.modeling import Unimp
from unimp.reader import Reader
from unimp.sequence import Style, Writer
from unimp.shop import Example
from unimp.vocabulary import Vocabulary

BODIES = [np.array(ids, np.int32) for ids in ([1, 2], [1, 3], [4, 5], [4, 5], [6], [7, 8])]
NOBODY = np.zeros(6, bool)


def model(**changes: object) -> Unimp:
    torch.manual_seed(0)
    made = Unimp(tiny.config(item_rows="content", content_width=8, **changes)).eval()
    assert made.content is not None
    pictures = torch.randn(6, made.content.vision) if made.content.vision else None
    made.content.learn(BODIES, pictures)
    made.content.furnish(BODIES, pictures)
    return made


def items(made: Unimp) -> slice:
    first = Vocabulary.of(made.config).item_ids.start - made.config.text_ids
    return slice(first, None)


def test_only_item_rows_have_content() -> None:
    made = model()
    own = items(made)
    for table in (made.embed, made.head):
        added = table.table() - table.new.weight
        assert added[: own.start].abs().max() == 0
        assert (added[own].abs().sum(1) > 0).all()


def test_items_of_equal_words_read_alike_and_are_told_apart_by_pictures() -> None:
    made = model()
    with torch.no_grad():
        made.embed.new.weight.zero_()
        made.head.new.weight.zero_()
    own = items(made)
    read, predicted = made.embed.table()[own], made.head.table()[own]
    assert torch.equal(read[2], read[3])
    assert not torch.equal(read[0], read[1])
    assert not torch.allclose(predicted[2], predicted[3])


def test_what_is_an_items_own_counts_by_how_often_it_was_bought() -> None:
    made = model()
    assert made.content is not None
    own, free = items(made), made.embed.new.weight[items(made)]
    with torch.no_grad():
        content = made.embed.table()[own] - free
        made.content.trust(np.array([1] * 5 + [3] * 30), np.array([True] * 5 + [False]))
        counts = torch.tensor([0, 0.5, 0, 1.0, 0, 1.0])[:, None]  # the last one was not spoken of
        assert torch.allclose(made.embed.table()[own], counts * free + content, atol=1e-6)
        before = made.head.table()[own].clone()
        made.head.new.weight[own] += 1.0
        assert torch.allclose(made.head.table()[own] - before, counts.expand_as(before), atol=1e-6)


def test_a_blind_model_has_words_alone() -> None:
    made = model(fusion="none")
    assert made.content is not None
    assert made.content.vision == 0
    assert made.content.predict is None
    own = items(made)
    assert torch.equal(made.head.table()[own], made.embed.table()[own] + made.head.new.weight[own])


def test_content_learns_with_the_rows() -> None:
    made = model().train()
    ids = torch.tensor([[1, 2, Vocabulary.of(made.config).item(4)[0]]])
    nothing = torch.full_like(ids, -1)
    hidden = made.hidden(ids, latents=made.latents(None), slots=nothing, which=nothing)
    made.head(hidden).square().sum().backward()
    assert made.content is not None
    for name, parameter in made.content.named_parameters():
        if not name.startswith("ask"):  # nothing was asked for
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def asked(made: Unimp, query: str, task: str = "search") -> Batch:
    """A question about nobody, beside another of other words."""
    writer = Writer(Vocabulary.of(made.config), BODIES, BODIES, lambda text: [1 + ord(c) % 7 for c in text], Style())
    none = np.zeros(0, np.int64)
    rows = []
    for words in (query, "another one"):
        row = writer.trunk(none, np.zeros(0, np.float32), ())
        one = Example("", "", none, np.zeros(0, np.float32), (), query=words, answer_items=(2,))
        writer.branch(row, task, one)
        rows.append(row)
    return collate(rows, NOBODY, 0)


def test_the_words_of_a_query_reach_the_head_in_one_step() -> None:
    made = model()
    assert made.content is not None
    batch = asked(made, "Ab c")
    with torch.no_grad():
        whole = made.read(batch, None)
        made.content.ask.weight.zero_()
        without = made.read(batch, None)
        made.content = model().content
        assert made.content is not None
        ids = torch.tensor(sorted({1 + ord(c) % 7 for c in " ab c"}))
        bag = (made.content.words.weight[ids] * made.content.idf[ids, None]).sum(0)
        own = made.content.ask(torch.nn.functional.layer_norm(bag, bag.shape))
    there = batch.query[0] == 0
    assert 0 < there.sum() < len(there)
    assert torch.allclose((whole - without)[0, there], own.expand(int(there.sum()), -1), atol=1e-5)
    assert torch.equal(whole[0, ~there], without[0, ~there])
    assert not torch.allclose((whole - without)[1, -1], own, atol=1e-3)  # each hears its own


def test_packed_searches_are_those_of_rows_of_their_own_and_of_answers() -> None:
    made = model()
    writer = Writer(Vocabulary.of(made.config), BODIES, BODIES, lambda text: [1 + ord(c) % 7 for c in text], Style())
    history, stars = np.array([0, 3, 1]), np.full(3, np.nan, np.float32)
    shown = [
        Example("", "", history[:n], stars[:n], [None] * n, query=query, answer_items=(2,))
        for n, query in ((1, "ab"), (3, "c d e"), (2, "ab"), (3, "gg"))
    ]
    row = writer.trunk(history, stars, [None] * 3)
    for one in shown:
        writer.branch(row, "search", one, after=len(one.history), learn=False)
        writer.branch(row, "recommendation", one, after=len(one.history), learn=False)
    with torch.no_grad():
        packed = made.read(collate([row], NOBODY, 0), None)[0]
        ends = [max(k for k, s in enumerate(row.segments) if s == branch) for branch in range(1, 9, 2)]
        reader = Reader(made, writer, lambda _: None, NOBODY, 999)
        with reader.answering():
            for numbers, stream in reader.streams("search", shown, going_on=False):
                for place, number in enumerate(numbers.tolist()):
                    assert torch.allclose(stream.last[place], packed[ends[number]], atol=1e-5)


def test_ids_that_no_item_has_say_nothing() -> None:
    made = model()
    assert made.content is not None
    with torch.no_grad():
        known, more = torch.tensor([1, 4]), torch.tensor([1, 4, 20])
        starts = torch.tensor([0])
        assert torch.equal(made.content.queries(known, starts), made.content.queries(more, starts))
        assert made.content.queries(more[2:], starts).abs().max() == 0


def test_capitals_of_a_query_do_not_matter_and_other_tasks_hear_nothing() -> None:
    made = model()
    one, other = (asked(made, query) for query in ("Ab c", "aB C"))
    assert torch.equal(one.words, other.words)
    assert len(asked(made, "Ab c", "recommendation").words) == 0


def test_a_batch_without_queries_computes_the_same_operations() -> None:
    made = model().train()
    batch = asked(made, "Ab c", "recommendation")
    assert len(batch.words) == 0
    made.read(batch, None).sum().backward()
    assert made.content is not None
    assert made.content.ask.weight.grad is not None  # shares of weights are put together by all processes


def test_saved_and_loaded_rows_are_equal(tmp_path: object) -> None:
    made = model()
    made.save_pretrained(str(tmp_path))
    again = Unimp.from_pretrained(str(tmp_path))
    assert again.content is not None
    assert made.content is not None
    again.content.furnish(BODIES, None if not made.content.vision else torch.zeros(6, made.content.vision))
    again.content.pictures = made.content.pictures
    assert torch.equal(again.head.table(), made.head.table())
    assert torch.equal(again.embed.table(), made.embed.table())


def test_an_item_that_another_view_shows_as_before_keeps_its_rows() -> None:
    made = model()
    assert made.content is not None
    pictures = made.content.pictures * made.content.picture_deviation + made.content.picture_mean
    read, predicted = made.embed.table().clone(), made.head.table().clone()
    noisy = [BODIES[0], *(np.array([9], np.int32) for _ in BODIES[1:])]
    swapped = pictures.clone()
    swapped[1:] = torch.randn(len(swapped) - 1, made.content.vision)
    made.content.furnish(noisy, swapped)
    first = items(made).start
    for before, after in ((read, made.embed.table()), (predicted, made.head.table())):
        assert torch.allclose(before[first], after[first], atol=1e-5)
        assert not torch.allclose(before[first + 1], after[first + 1], atol=1e-2)


def test_content_must_be_furnished_before_it_is_asked() -> None:
    with pytest.raises(AssertionError, match="furnish"):
        Unimp(tiny.config(item_rows="content")).head.table()


def test_while_answering_content_is_made_once_and_never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    reader = Reader(made, Writer(Vocabulary.of(made.config), BODIES, BODIES, list, Style()), lambda _: None, NOBODY, 99)
    times = []
    words = ItemContent._words
    monkeypatch.setattr(ItemContent, "_words", lambda self, *given: times.append(1) or words(self, *given))
    with reader.answering():
        tables = [made.head.table() for _ in range(3)]
        assert made.embed.table() is made.embed.table()
    assert len(times) == 1  # prediction begins with the rows that are read
    assert torch.equal(tables[0], tables[2])
    with torch.no_grad():
        made.head.new.weight.add_(1)
    with reader.answering():
        assert torch.allclose(made.head.table(), tables[0] + 1)
        with torch.enable_grad():  # what learns is never given what was kept
            assert made.head.table().requires_grad


def test_a_pass_of_training_makes_content_once_and_the_next_pass_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made, times = model().train(), []
    batch = asked(made, "Ab c")
    words = ItemContent._words
    monkeypatch.setattr(ItemContent, "_words", lambda self, *given: times.append(1) or words(self, *given))
    places = supervised_places(batch.labels)
    apart = made.head(made.read(batch, None).flatten(0, 1)[places - 1])
    assert len(times) == 3  # rows to read, rows to predict, queries
    apart.square().sum().backward()
    wanted = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    together, _ = made.supervised(batch, None)
    assert len(times) == 3 + 2
    assert made.embed.kept.rows is None
    together.square().sum().backward()
    assert torch.equal(together, apart)
    assert wanted.keys() == {name for name, p in made.named_parameters() if p.grad is not None}
    for name, p in made.named_parameters():
        assert p.grad is None or torch.allclose(p.grad, wanted[name], rtol=1e-4, atol=1e-6), name


def test_memory_is_given_back_where_the_library_can() -> None:
    assert memory.give_back() == (platform.libc_ver()[0] == "glibc")
