"""The dense retriever: its texts, its loss by hand, a local sentence encoder, and the contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

if find_spec("torch") is None or find_spec("transformers") is None:
    pytest.skip("needs PyTorch and transformers: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines.contract import examples_for, fitted, holds, resumes, said
from tests.shop import home_at
from unimp_baselines import dense_net
from unimp_baselines.dense import Dense
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError, InputError
from unimp_bench.runners.protocol import Context

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 3, "batch": 16, "buckets": 500}


def test_hashed_words() -> None:
    found = dense_net.hashed(["Red hat", "hat", "", "red " * 60], 1_000)
    assert found.shape == (4, dense_net.WORDS)
    assert found[0, 1] == found[1, 0] and found[0, 0] == found[3, 47]
    assert (found[2] == 0).all() and (found[0, 2:] == 0).all()
    assert int(found[found > 0].min()) >= 1 and int(found.max()) <= 1_000


def _network() -> dense_net.Dense:
    torch.manual_seed(0)
    return dense_net.Dense(dense_net.Hashed(50, 6))


def test_a_question_is_its_query_with_a_share_of_the_past() -> None:
    network = _network()
    queries, titles = dense_net.hashed(["red hat", "cap"], 50), dense_net.hashed(["shoe", "sock"], 50)
    seen, real = network.items(titles).expand(2, 2, 6), torch.tensor([[True, True], [False, False]])
    found = network.asked(queries, seen, real)
    unit = torch.nn.functional.normalize
    table = network.encoder.bag.weight  # type: ignore[union-attr]
    query = unit((table[queries[0, 0]] + table[queries[0, 1]]) / 2, dim=0)
    past = sum((unit(table[titles[k, 0]], dim=0) for k in (0, 1)), torch.zeros(6)) / 2
    assert torch.allclose(found[0], unit(query + float(np.log(2)) * past, dim=0), atol=1e-6)  # softplus(0) = log 2
    assert torch.allclose(found[1], unit(table[queries[1, 0]], dim=0), atol=1e-6)


def test_a_text_without_words_is_zero_and_has_gradients() -> None:
    network = _network()
    empty = network.items(dense_net.hashed([""], 50))
    assert empty.tolist() == [[0.0] * 6]
    loss = network.asked(dense_net.hashed([""], 50), empty[None], torch.tensor([[False]])).sum()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_loss_by_hand() -> None:
    network, generator = _network(), torch.Generator().manual_seed(1)
    asked, items = torch.randn(3, 6, generator=generator), torch.randn(3, 6, generator=generator)
    share = torch.tensor([0.5, 0.25, 0.5]).log()
    ours = network.loss(asked, items, torch.tensor([7, 8, 7]), share)
    scores = 20 * asked @ items.T - share
    rows = [[0, 1], [0, 1, 2], [1, 2]]  # questions 0 and 2 ask for the same item: no negatives of each other
    theirs = [torch.logsumexp(scores[k, row], 0) - scores[k, k] for k, row in enumerate(rows)]
    assert torch.allclose(ours, torch.stack(theirs).mean(), rtol=1e-5)


@pytest.mark.parametrize("adapt", [False, True])
def test_the_contract(tmp_path: Path, adapt: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(Dense, **SMALL), adapt=adapt)


def test_a_killed_fit_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    resumes(shop, tmp_path / "runs", partial(Dense, **{**SMALL, "epochs": 5}))


def test_items_that_training_never_saw_are_ranked(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    runner = fitted(shop, tmp_path / "a", partial(Dense, **SMALL))
    examples = examples_for(shop, runner, "search", adapt=True)  # of the held-out domain, without adapting
    block = next(iter(runner.predict("search", examples, shop.catalogue(), Context(0, tmp_path))))
    assert np.isfinite(block.scores).all()
    assert block.scores.shape == (examples.height, 20)


def _encoder(folder: Path) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(pieces), **shape)).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_local_sentence_encoder(tmp_path: Path) -> None:
    folder = _encoder(tmp_path / "bert")
    texts = ["red hat", "a much longer text than that", "", "red hat"]
    one, many = (dense_net.from_folder(folder, texts, "cpu", batch) for batch in (1, 64))
    assert one.shape == (4, 16)
    assert torch.allclose(one, many, atol=1e-5)  # padding says nothing
    assert torch.equal(one[0], one[3]) and not torch.allclose(one[0], one[1])
    assert dense_net.from_folder(folder, [], "cpu", 64).shape == (0, 16)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    assert not torch.allclose(dense_net.from_folder(folder, texts, "cpu", 64), many)
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path / "runs", partial(Dense, encoder=folder, **SMALL))


def test_an_encoder_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of a sentence encoder"):
        Dense(encoder=tmp_path / "nowhere")


@pytest.mark.slow  # transformers takes long to import
def test_a_folder_without_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sentence encoder") as caught:
        dense_net.from_folder(tmp_path, ["x"], "cpu", 1)
    assert "\n" not in str(caught.value)


def test_changed_files_are_not_taken_up(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    fitted(shop, tmp_path / "a", partial(Dense, **SMALL))
    with (tmp_path / "a/fit-state/weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"weights.safetensors is missing or was changed"):
        Dense(**SMALL).load(tmp_path / "a/fit-state")


@pytest.mark.parametrize("wrong", [{"buckets": 0}, {"batch": 1}, {"history": 0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="dense"):
        Dense(**wrong)


@pytest.mark.slow
def test_it_learns_which_items_a_query_means(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    runner = fitted(shop, tmp_path / "a", partial(Dense, **{**SMALL, "epochs": 60, "patience": 60}))
    examples = examples_for(shop, runner, "search")
    first = said(shop, runner, "search", examples)["item_ids"].list.first().to_list()
    kind = dict(shop.catalogue().items.select("item_id", pl.col("categories").list.last()).iter_rows())
    queries = examples.sort("example_id")["query"].to_list()
    right = [kind[item].lower() in query for item, query in zip(first, queries, strict=True)]
    assert np.mean(right) > 0.8
