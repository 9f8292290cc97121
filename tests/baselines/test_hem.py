"""HEM and what all search systems share: words, draws, the loss by hand, training, the contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines.contract import examples_for, fitted, holds, resumes, said
from tests.shop import home_at
from unimp_baselines import search_common, search_net, search_training
from unimp_baselines.bm25 import tokens
from unimp_baselines.hem import HEM
from unimp_baselines.recbole.feed import Lists
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.fitting import task_data

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 3, "batch": 16, "min_count": 1, "words": 3}


def _lists(*rows: list[int]) -> Lists:
    return Lists.of(pl.Series(rows, dtype=pl.List(pl.Int64)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_words_are_those_of_bm25() -> None:
    texts = ["Men's Läufer-Schuh, N° 5_b", " .,- ", "", "It\u2019s 3rd-rate"]
    found = pl.DataFrame({"text": texts}).select(search_common.spelled(pl.col("text")))["text"].to_list()
    assert found == [tokens(text) for text in texts]


def test_rare_words_are_unknown_and_left_out() -> None:
    words = search_common.vocabulary([pl.Series(["red hat", None, "Red!"]), pl.Series(["hat blue"])], 2)
    assert words.to_list() == ["hat", "red"]
    lists = search_common.word_lists(pl.Series(["blue red red", "", "hat"]), words)
    assert lists.values.tolist() == [2, 2, 1]
    assert lists.starts.tolist() == [0, 2, 2, 3]


def test_padded_keeps_the_last() -> None:
    lists = _lists([1, 2, 3], [], [4])
    assert search_common.padded(lists, np.array([0, 1, 2]), 2).tolist() == [[2, 3], [0, 0], [0, 4]]
    again = search_common.taken(lists, np.array([2, 0, 0]))
    assert again.values.tolist() == [4, 1, 2, 3, 1, 2, 3]
    assert again.starts.tolist() == [0, 1, 4, 7]


def test_noise_is_unigram_to_three_quarters() -> None:
    noise = search_net.Noise(np.array([9, 16, 0, 1]))  # number 0 is padding, whatever stands there
    drawn = noise.draw((20_000,), torch.Generator().manual_seed(0))
    share = np.bincount(drawn.numpy(), minlength=4) / 20_000
    assert share[0] == share[2] == 0
    assert share[1] == pytest.approx(8 / 9, abs=0.01)
    assert search_net.Noise(np.zeros(3)).draw((2, 2), torch.Generator()).tolist() == [[0, 0], [0, 0]]


def test_documents_give_their_own_words_and_frequent_ones_less_often() -> None:
    documents = search_net.Documents(_lists([], [1, 1, 1, 2], [3]), words=3, subsample=0.0)
    drawn = documents.draw(torch.tensor([0, 1, 2]), 4_000, torch.Generator().manual_seed(0))
    assert drawn[0].unique().tolist() == [0]
    assert drawn[2].unique().tolist() == [3]
    assert float((drawn[1] == 1).double().mean()) == pytest.approx(0.75, abs=0.03)
    thinned = search_net.Documents(_lists([], [1, 1, 1, 2], [3]), words=3, subsample=0.01)
    share = float((thinned.draw(torch.tensor([1]), 4_000, torch.Generator().manual_seed(0)) == 1).double().mean())
    kept = [(0.01 / f) ** 0.5 + 0.01 / f for f in (3 / 5, 1 / 5)]
    assert share == pytest.approx(3 * kept[0] / (3 * kept[0] + kept[1]), abs=0.03)


def test_nce_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    right, right_bias = torch.tensor([[[0.5, 0.5]], [[9.0, 9.0]]]), torch.tensor([[0.1], [9.0]])
    wrong = torch.tensor([[[[1.0, 0.0], [0.0, -1.0]]], [[[9.0, 9.0], [9.0, 9.0]]]])
    wrong_bias = torch.tensor([[[0.2, 0.3]], [[9.0, 9.0]]])
    ours = search_net.nce(x, right, right_bias, wrong, wrong_bias, torch.tensor([[True], [False]]))
    theirs = -log(_sigmoid(1.6)) - log(_sigmoid(-1.2)) - log(_sigmoid(1.7))  # x.y' + b: 1.2 and -1.7
    assert float(ours) == pytest.approx(theirs, rel=1e-6)


def _network(l2: float = 0.0) -> search_net.HEM:
    network = search_net.HEM(words=5, items=4, users=3, width=6, query_weight=0.25, l2=l2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    with torch.no_grad():
        for table in (network.words, network.items, network.users):
            table.weight[0] = 0
    return network


def _batch() -> search_net.Batch:
    return search_net.Batch(*map(torch.tensor, ([1, 3], [[0, 2, 5], [0, 0, 0]], [[0, 2], [1, 3]], [4, 2])))


def test_the_intent_mixes_query_and_user() -> None:
    network = _network()
    found = network.intent(_batch())
    mean = (network.words.weight[2] + network.words.weight[5]) / 2
    asked = torch.tanh(network.query.weight @ mean + network.query.bias)
    assert torch.allclose(found[0], 0.25 * asked + 0.75 * network.users.weight[1], atol=1e-6)
    unknown = torch.tanh(network.query.bias)  # a query of which no word is known
    assert torch.allclose(found[1], 0.25 * unknown + 0.75 * network.users.weight[3], atol=1e-6)


def test_the_loss_is_the_sum_of_its_three_parts_and_the_norms() -> None:
    network, batch = _network(), _batch()
    draw = search_net.Draw(
        torch.tensor([[1, 2], [3, 0]]),
        torch.ones(2, 2, 3, dtype=torch.int64),
        torch.tensor([[4, 0], [5, 5]]),
        torch.full((2, 2, 3), 2),
        torch.tensor([[1, 1, 3], [4, 4, 3]]),
    )
    intent, user = network.intent(batch), network.users(batch.users)

    def one(x: torch.Tensor, table: str, right: int, wrong: list[int]) -> torch.Tensor:
        vectors, bias = getattr(network, table).weight, getattr(network, f"{table.rstrip('s')}_bias")
        signs = [(right, 1.0), *((k, -1.0) for k in wrong)]
        return -sum((torch.sigmoid(sign * (x @ vectors[k] + bias[k])).log() for k, sign in signs), torch.zeros(()))

    ranking = (one(intent[0], "items", 4, [1, 1, 3]) + one(intent[1], "items", 2, [4, 4, 3])) / 2
    vectors = network.items.weight
    told = (one(vectors[4], "words", 1, [1] * 3) + one(vectors[4], "words", 2, [1] * 3)) / 3
    told = told + one(vectors[2], "words", 3, [1] * 3) / 3
    spoken = sum((one(user[k], "words", w, [2] * 3) for k, w in ((0, 4), (1, 5), (1, 5))), torch.zeros(())) / 3
    assert torch.allclose(network.loss(batch, draw), ranking + told + spoken, atol=1e-5)
    heavier = _network(l2=0.1)
    used = user.square().sum() + vectors[[4, 2, 1, 1, 3, 4, 4, 3]].square().sum()
    # Words of items, users and queries, and the drawn wrong ones, three for each word that is not padding.
    numbers = [1, 2, 3, 4, 5, 5, 2, 5, *[1] * 9, *[2] * 9]
    used = used + network.words.weight[numbers].square().sum()
    assert torch.allclose(heavier.loss(batch, draw), ranking + told + spoken + 0.05 * used / 2, atol=1e-4)


def test_similarities() -> None:
    network, batch = _network(), _batch()
    product = network.intent(batch) @ network.items.weight[1:].T
    assert torch.allclose(network.scores(batch, "product"), product)
    assert torch.allclose(network.scores(batch, "bias"), product + network.item_bias[1:])
    unit = torch.nn.functional.normalize
    asked, user = network.asked(batch.queries), network.users(batch.users)
    cosine = (0.25 * unit(asked) + 0.75 * unit(user)) @ unit(network.items.weight[1:]).T
    assert torch.allclose(network.scores(batch, "cosine"), cosine)


def test_ndcg_masks_the_history_and_counts_ties_against_it() -> None:
    asks = search_common.Asks(
        np.zeros(2, np.int64), pl.Series(["", ""]), _lists([], []), _lists([2], []), np.array([3, 1])
    )
    scores = torch.tensor([[1.0, 9.0, 2.0, 3.0], [0.0, 0.0, 0.0, -1.0]])
    found = search_training.ndcg5(lambda rows: scores[torch.from_numpy(rows)], asks, 4)
    assert found == pytest.approx((1 / np.log2(3) + 1 / np.log2(4)) / 2)
    assert scores[0, 1] == 9.0  # what was scored is left as it was
    assert search_training.ndcg5(lambda rows: scores, asks.some(np.empty(0, np.int64)), 4) is None


def test_the_corpus_holds_train_text_only(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    corpus = search_common.Corpus.of(task_data(shop, "search", new_domains=False), "in_domain", 1)
    assert len(corpus.names.items) == 16
    rows = shop.interactions().collect().filter(pl.col("domain") == "toys")
    assert len(corpus.reviews) == rows.height
    pairs = zip(corpus.review_users.tolist(), corpus.review_items.tolist(), strict=True)
    named = {(corpus.names.users[u - 1], corpus.names.items[i - 1]) for u, i in pairs}
    assert named == set(rows.select("user_id", "item_id").iter_rows())
    assert len(corpus.valid) == 20
    held = zip(corpus.valid.users.tolist(), corpus.valid.targets.tolist(), strict=True)
    assert not {(corpus.names.users[u - 1], corpus.names.items[i - 1]) for u, i in held} & named


@pytest.mark.parametrize("adapt", [False, True])
def test_the_contract(tmp_path: Path, adapt: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(HEM, **SMALL), adapt=adapt)


def test_a_killed_fit_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    resumes(shop, tmp_path / "runs", partial(HEM, **{**SMALL, "epochs": 5}))


def test_an_adapted_copy_keeps_what_its_words_mean(tmp_path: Path) -> None:
    torch.manual_seed(0)
    earlier, network = (search_net.HEM(words, 4, 3, 6, 0.5, 0.0) for words in (5, 3))
    fresh = network.words.weight.detach().clone()
    search_training.inherit(network, earlier, (torch.tensor([0, 1, 3]), torch.tensor([0, 5, 2])))
    assert torch.equal(network.words.weight[[1, 3]], earlier.words.weight[[5, 2]])
    assert torch.equal(network.words.weight[2], fresh[2])
    assert torch.equal(network.query.weight, earlier.query.weight)


def test_changed_files_are_not_taken_up(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    fitted(shop, tmp_path / "a", partial(HEM, **SMALL))
    with (tmp_path / "a/fit-state/names.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"names.parquet is missing or was changed"):
        HEM(**SMALL).load(tmp_path / "a/fit-state")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    monkeypatch.setattr(search_net.HEM, "loss", lambda self, batch, draw: self.words.weight.sum() * float("nan"))
    with pytest.raises(ConfigError, match="hem: the loss is nan in epoch 1"):
        fitted(shop, tmp_path / "a", partial(HEM, **SMALL))


@pytest.mark.parametrize("wrong", [{"embedding": 0}, {"lr": 0.0}, {"query_weight": 1.5}, {"l2": -1.0}, {"words": 0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="hem"):
        HEM(**wrong)


@pytest.mark.slow
def test_it_learns_which_items_a_query_means(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    runner = fitted(
        shop, tmp_path / "a", partial(HEM, **{**SMALL, "embedding": 16, "lr": 0.01, "epochs": 60, "patience": 60})
    )
    examples = examples_for(shop, runner, "search")
    first = said(shop, runner, "search", examples)["item_ids"].list.first().to_list()
    kind = dict(shop.catalogue().items.select("item_id", pl.col("categories").list.last()).iter_rows())
    queries = examples.sort("example_id")["query"].to_list()
    right = [kind[item].lower() in query for item, query in zip(first, queries, strict=True)]
    assert np.mean(right) > 0.8
