"""RTM: which reviews it reads, its transformer and losses, what it reranks, and the contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines.contract import examples_for, fitted, holds, resumes
from tests.shop import home_at
from unimp_baselines import rtm_data, rtm_net, rtm_reading, search_common
from unimp_baselines.bm25 import Index, documents
from unimp_baselines.recbole.feed import Lists
from unimp_baselines.rtm import RTM
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context

SMALL: dict[str, Any] = {
    "embedding": 8,
    "heads": 2,
    "layers": 2,
    "epochs": 2,
    "batch": 16,
    "min_count": 1,
    "words": 2,
    "user_reviews": 3,
    "item_reviews": 2,
    "review_words": 6,
    "candidates": 10,
    "valid_examples": 5,
}


def _lists(*rows: list[int]) -> Lists:
    return Lists.of(pl.Series(rows, dtype=pl.List(pl.Int64)))


def _corpus(shop: Dataset) -> search_common.Corpus:
    return search_common.Corpus.of(task_data(shop, "search", new_domains=False), "in_domain", 1)


def test_a_random_subset_keeps_the_order_and_the_latest_are_the_latest() -> None:
    lists = _lists([5, 6, 7, 8, 9], [4], [])
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(50):
        drawn = rtm_data.drawn(lists, np.array([0, 1, 2]), 3, generator)
        some = drawn[0][drawn[0] > 0].tolist()
        assert some == sorted(set(some)) and set(some) <= {5, 6, 7, 8, 9}
        assert drawn[1:].tolist() == [[4, 0, 0], [0, 0, 0]]
        seen |= set(some)
    assert seen == {5, 6, 7, 8, 9}
    assert rtm_data.latest(lists, np.array([0, 1, 2]), 3).tolist() == [[7, 8, 9], [4, 0, 0], [0, 0, 0]]


def test_the_review_that_is_predicted_is_on_neither_side(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    corpus = _corpus(shop)
    shelf = rtm_data.Shelf.of(corpus)
    asks = corpus.asked
    own = shelf.found(asks.users, asks.targets)
    assert (own > 0).all()
    rows = np.arange(len(asks))
    past = rtm_data.latest(rtm_data.past_in(shelf, asks), rows, 50)
    assert (past > 0).any() and not (past == own[:, None]).any()
    assert (np.concatenate([[0], shelf.users])[past][past > 0] == np.repeat(asks.users, (past > 0).sum(1))).all()
    about = rtm_data.latest(shelf.by_item(), asks.targets, 50)
    assert (about == own[:, None]).any(1).all()
    others = rtm_data.not_by(about, asks.users, shelf)
    assert not (others == own[:, None]).any()
    assert ((about != own[:, None]) == ((others > 0) | (about == 0))).all()  # nothing else is taken out


def test_unknown_users_lose_no_reviews() -> None:
    shelf = rtm_data.Shelf(_lists([1], [2], [3]), np.array([1, 2, 0]), np.array([1, 1, 1]), 1)
    assert rtm_data.not_by(np.array([[1, 2, 3]]), np.array([0]), shelf).tolist() == [[1, 2, 3]]
    assert rtm_data.not_by(np.array([[1, 2, 3]]), np.array([2]), shelf).tolist() == [[1, 0, 3]]
    assert shelf.found(np.array([2, 1, 0]), np.array([1, 0, 1])).tolist() == [2, 0, 0]


def test_pairs_whose_item_nobody_else_reviewed_are_skipped(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    corpus = _corpus(shop)
    alone = int(corpus.asked.targets[0])
    keep = np.flatnonzero((corpus.review_items != alone) | (corpus.review_users == corpus.asked.users[0]))
    thin = search_common.Corpus(
        corpus.names,
        corpus.asked.some(np.flatnonzero((corpus.asked.targets != alone) | (np.arange(len(corpus.asked)) == 0))),
        corpus.valid,
        search_common.taken(corpus.reviews, keep),
        corpus.review_users[keep],
        corpus.review_items[keep],
        corpus.titles,
    )
    shelf = rtm_data.Shelf.of(thin)
    members = shop.catalogue().items.filter(pl.Series(shop.catalogue().members("in_domain")))
    filtered = rtm_reading.Prefilter.of(members, thin.item_counts[1:])
    lessons = rtm_reading.Lessons.of(thin, shelf, filtered, 5, 0.5, False)
    assert len(lessons.asks) == len(thin.asked) - 1
    assert alone not in lessons.asks.targets
    assert len(rtm_reading.Lessons.of(thin, shelf, filtered, 5, 0.5, True).asks) == len(thin.asked)
    wrong = lessons.wrong(np.arange(4), 4, torch.Generator().manual_seed(0))
    assert wrong.shape == (4, 4) and wrong.min() >= 1
    for row in range(4):
        assert set(wrong[row, :2].tolist()) <= set((filtered.order(lessons.asks.texts[row])[:5] + 1).tolist())


def test_a_new_user_speaks_by_the_explanations_of_the_history(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    corpus = _corpus(shop)
    shelf = rtm_data.Shelf.of(corpus)
    examples = shop.examples("search", "test").filter(pl.col("cohort") == "new_user").collect()
    past, told = rtm_data.past_reviews(examples, corpus.names, shelf)
    assert len(told) == examples["history"].list.len().sum()
    assert past.values.min() > len(shelf.texts)
    first = told.values[told.starts[0] : told.starts[1]]
    words = " ".join(corpus.names.words[int(k) - 1] for k in first)
    assert words == examples["history"][0][0]["explanation"]
    known = shop.examples("search", "test").filter(pl.col("cohort") == "in_domain").collect()
    past, told = rtm_data.past_reviews(known, corpus.names, shelf)
    assert len(told) == known.height  # the validation row alone has no train review


def _network() -> rtm_net.RTM:
    torch.manual_seed(0)
    return rtm_net.RTM(rtm_net.Shape(words=6, width=8, layers=2, heads=2, dropout=0.0, tokens=6)).eval()


def test_padding_says_nothing_and_reviews_do() -> None:
    network, generator = _network(), torch.Generator().manual_seed(0)
    asked, users = torch.randn(2, 8, generator=generator), torch.randn(2, 2, 8, generator=generator)
    items = torch.randn(2, 3, 3, 8, generator=generator)
    user_real, item_real = torch.tensor([[True, False], [False, False]]), torch.rand(2, 3, 3, generator=generator) > 0.4
    item_real[0, 0] = torch.tensor([True, False, True])
    whole = network(asked, users, user_real, items, item_real)
    blind = network(asked, users * user_real[..., None], user_real, items * item_real[..., None], item_real)
    assert whole.shape == (2, 3)
    assert torch.allclose(whole, blind, atol=1e-6)
    items[0, 0, 0] = torch.randn(8, generator=generator)
    assert not torch.allclose(network(asked, users, user_real, items, item_real)[0, 0], whole[0, 0])
    assert torch.allclose(network(asked, users, user_real, items, item_real)[0, 1:], whole[0, 1:])


def test_the_last_layer_looks_at_the_query_alone() -> None:
    network, generator = _network(), torch.Generator().manual_seed(0)
    x, real = torch.randn(3, 5, 8, generator=generator), torch.ones(3, 5, dtype=torch.bool)
    layer = network.layers[0]
    assert torch.allclose(layer(x, real, 1), layer(x, real, 5)[:, :1], atol=1e-6)


def test_positions_are_sinusoids() -> None:
    found = rtm_net.places(4, 6)
    assert found[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert found[3, 2].item() == pytest.approx(np.sin(3 / 10_000 ** (2 / 6)), abs=1e-6)


def test_a_review_is_the_mean_of_its_words_and_corruption_weighs_up() -> None:
    network = _network()
    table = network.words.weight
    words = torch.tensor([[0, 0, 2, 3], [0, 0, 0, 0]])
    assert torch.allclose(network.mean(words)[0], (table[2] + table[3]) / 2)
    assert network.mean(words)[1].tolist() == [0] * 8
    reviews, kept = torch.tensor([[0, 2, 3, 4]]), torch.tensor([[True, False, True, False]])
    ours = network.review_loss(reviews, kept, torch.tensor([[2, 0]]), torch.tensor([[[1, 5], [1, 1]]]))
    x, logs = table[3], []  # one of three words is kept: 3 / 1 times its third
    for word, sign in ((2, 1), (1, -1), (5, -1)):
        logs.append(torch.sigmoid(sign * (x @ network.context.weight[word] + network.word_bias[word])).log())
    assert torch.allclose(ours, -torch.stack(logs).sum(), atol=1e-6)


def test_a_gain_by_hand() -> None:
    scores, items = np.array([5, 4, 4, 3], dtype=np.float32), np.array([7, 8, 9, 3])
    nothing = np.empty(0, dtype=np.int64)
    assert rtm_reading.gain(scores, items, nothing, 8) == pytest.approx(1 / np.log2(4))  # a tie counts against it
    assert rtm_reading.gain(scores, items, np.array([7, 9]), 8) == 1.0
    assert rtm_reading.gain(scores, items, nothing, 1) == 0.0


def test_what_bm25_leaves_out_follows_in_its_order(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    runner = fitted(shop, tmp_path / "a", partial(RTM, **SMALL))
    view, examples = shop.catalogue(), examples_for(shop, runner, "search").head(3)
    members = np.flatnonzero(view.members("in_domain"))
    index = Index.of(documents(view.items[members]), 1.5, 0.75, 0.25)
    for block in runner.predict("search", examples, view, Context(0, tmp_path)):
        for example, whole in zip(block.example_ids, block.scores, strict=True):
            theirs = index.scores(examples.filter(pl.col("example_id") == example)["query"].to_list())[0]
            found = whole[members]
            assert np.isfinite(found).all() and np.isneginf(np.delete(whole, members)).all()
            order = np.argsort(-found, kind="stable")
            assert theirs[order[:10]].min() >= theirs[order[10:]].max()
            assert (np.diff(theirs[order[10:]]) <= 0).all()
            assert len(np.unique(found[order[10:]])) == len(members) - 10


def test_the_contract(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(RTM, **SMALL))


@pytest.mark.parametrize("titles", [True, False])
@pytest.mark.slow
def test_the_contract_in_a_new_domain(tmp_path: Path, titles: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(RTM, titles=titles, **SMALL), adapt=True)


@pytest.mark.slow
def test_a_killed_fit_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    resumes(shop, tmp_path / "runs", partial(RTM, **{**SMALL, "epochs": 3}))


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"corruption": 1.0}, {"hard": 2.0}, {"candidates": 0}, {"epochs": 0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rtm"):
        RTM(**wrong)
