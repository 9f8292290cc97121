"""Checks of `unisrec_model.py` in a process of their own; ends with an error or "fine"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unimp_baselines.recbole import compat

compat.apply()

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from unimp_baselines.recbole import checkpoints, training  # noqa: E402
from unimp_baselines.recbole.datasets import Arrays  # noqa: E402
from unimp_baselines.recbole.refusals import RefusalError  # noqa: E402
from unimp_baselines.recbole.requests import Model  # noqa: E402
from unimp_baselines.recbole.setup import configure, dataset_of  # noqa: E402
from unimp_baselines.recbole.unisrec import UniSRec as Runner  # noqa: E402
from unimp_baselines.recbole.unisrec_model import UniSRec  # noqa: E402

USERS, ITEMS, WIDTH = 6, 9, 5
STILL: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "adaptor_dropout": 0.0}


def data(order: list[int] | None = None) -> tuple[Arrays, dict[str, str]]:
    """A feed and its features; with an order, item k stands where item order[k] stood."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(ITEMS)[:4] + 1 for _ in range(USERS)])
    text = {name: rng.normal(size=(ITEMS, WIDTH)).astype(np.float32) for name in ("text", "text_with_gaps")}
    if order is not None:
        rows = np.argsort(order)[rows - 1] + 1
        text = {name: table[order] for name, table in text.items()}
    for name, table in text.items():
        np.save(f"{name}.npy", table)
    empty = np.zeros(0, np.int64)
    none: dict[str, Any] = {
        "valid_users": empty,
        "valid_targets": empty,
        "valid_histories": empty,
        "valid_starts": np.zeros(1, int),
    }
    attributes: dict[str, Any] = {"attributes": empty, "attribute_starts": np.zeros(ITEMS + 1, int)}
    starts = np.arange(USERS + 1) * 4
    np.savez("feed.npz", users=USERS, items=ITEMS, sequences=rows, sequence_starts=starts, **attributes, **none)
    return Arrays.read(Path("feed.npz")), {name: str(Path(f"{name}.npy").resolve()) for name in text}


def made(order: list[int] | None = None, *, more: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, Any]:
    """A model, untrained, and all train rows."""
    feed, features = data(order)
    mode = settings.pop("mode", "inductive")
    settings = {**Runner(embedding=8, inner=8, experts=2, mode=mode).settings(), **settings}
    config = configure(Model("UniSRec", True, settings, False, True), ITEMS, 1, ".", **(more or {}))
    rows = dataset_of(config, feed, "next", 1, True, features)
    torch.manual_seed(0)
    model = UniSRec(config, rows)
    if "pre_model_path" not in (more or {}):
        model.adaptor.gate.data.normal_()
    return model, rows[torch.arange(len(rows))]


def the_loss_of_fine_tuning_is_that_of_cosines() -> None:
    model, batch = made(**STILL)
    model.eval()
    sequences = F.normalize(model(batch["item_id_list"], batch["item_length"]), dim=1)
    vectors = F.normalize(model.adaptor(model.text), dim=1)
    total = 0.0
    for sequence, target in zip(sequences, batch["item_id"], strict=True):
        scores = torch.stack([sequence @ vectors[k] / 0.07 for k in range(1, ITEMS + 1)])
        total -= scores.log_softmax(0)[target - 1].item()
    assert abs(total / len(sequences) - model.calculate_loss(batch).item()) < 1e-4
    scores = model.full_sort_predict(batch)
    assert scores.shape == (len(sequences), ITEMS + 1)
    assert (scores[:, 0] == -torch.inf).all()
    assert torch.equal(model.predict(batch), scores[torch.arange(len(scores)), batch["item_id"]])


def the_loss_of_pretraining_is_the_sum_of_two_contrasts() -> None:
    nothing: dict[str, Any] = {"drop": 0.0, "lambda": 0.5}
    model, batch = made(more={"train_stage": "pretrain"}, **STILL, **nothing)
    model.eval()  # no noise
    sequences = F.normalize(model(batch["item_id_list"], batch["item_length"]), dim=1)
    target = batch["item_id"]
    assert len(target.unique()) < len(target)  # twins are there
    total = torch.zeros(2)
    for part, right in enumerate((F.normalize(model.adaptor(model.text[target]), dim=1), sequences)):
        for i in range(len(target)):
            allowed = (target != target[i]) | (torch.arange(len(target)) == i)
            total[part] -= (right @ sequences[i] / 0.07)[allowed].log_softmax(0)[allowed[:i].sum()] / len(target)
    assert torch.allclose(model.calculate_loss(batch), total[0] + 0.5 * total[1], rtol=1e-4)


def augmentations_drop_items_or_words() -> None:
    items, lengths = torch.tensor([[1, 2, 3, 4]] * 200), torch.full((200,), 4)
    wide = {"train_stage": "pretrain"}
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def look(*given: Any) -> torch.Tensor:
        seen.append(given)
        return torch.zeros(1)

    for share in (1.0, 0.0):
        model, _ = made(more=wide, **STILL, drop=0.3, drop_items=share)
        model.eval()
        vectors = [model.adaptor(table[:5]) for table in (model.text, model.gaps)]
        model.forward = look
        model.augmented(items, lengths)
        rows, left, given = seen.pop()
        if share:
            assert abs(left.float().mean() - (1 + 3 * 0.7)) < 0.2
            assert torch.equal((rows > 0).sum(1), left)
            assert torch.allclose(given, vectors[0][rows])
        else:
            assert torch.equal(rows, items)
            lost = (given - vectors[1][rows]).abs().amax(-1) < 1e-6
            assert abs(lost.float().mean() - 0.3) < 0.05
            assert torch.allclose(given[~lost], vectors[0][rows][~lost])


def inductive_scores_hang_on_texts_alone() -> None:
    order = np.random.default_rng(3).permutation(ITEMS).tolist()
    scores = []
    for way in (None, order):
        model, batch = made(way, **STILL)
        model.eval()
        scores.append(model.full_sort_predict(batch)[:, 1:])
    assert torch.allclose(scores[0][:, order], scores[1], atol=1e-5)
    assert not [name for name, value in model.state_dict().items() if ITEMS + 1 in value.shape]
    model, _ = made(mode="transductive", **STILL)
    assert model.state_dict()["item_embedding.weight"].shape == (ITEMS + 1, 8)
    before = model.eval().all_vectors().clone()
    model.item_embedding.weight.data[4] += 1
    model.eval()
    moved = (model.all_vectors() - before).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [4]


def padding_is_nothing() -> None:
    model, _ = made(**STILL)
    model.eval()
    rows, lengths = torch.tensor([[3, 5, 1]]), torch.tensor([3])
    assert torch.allclose(model(rows, lengths), model(F.pad(rows, (0, 20)), lengths), atol=1e-5)


def fine_tuning_begins_at_the_pretrained_weights_and_moves_what_it_may() -> None:
    first, batch = made(more={"train_stage": "pretrain"}, **STILL)
    first.calculate_loss(batch).backward()
    torch.optim.Adam(first.parameters(), lr=0.1).step()
    path = Path("pretrained.pt")
    checkpoints.write(path, {"state_dict": first.state_dict()})
    more = {"train_stage": "finetune", "pre_model_path": str(path)}
    for mode in ("inductive", "transductive"):
        for freeze in (True, False):
            model, batch = made(more=more, mode=mode, freeze=freeze, **STILL)
            training._check_taken_over(model, path)
            model.calculate_loss(batch).backward()
            torch.optim.Adam(model.parameters(), lr=0.1).step()
            still = {name for name, value in model.state_dict().items() if torch.equal(value, kept(first, name))}
            encoder = {name for name in model.state_dict() if name.startswith(("trm_encoder", "position_embedding"))}
            assert ("adaptor.weight" in still, "LayerNorm.weight" in still) == (False, False)
            assert encoder <= still if freeze else not {"position_embedding.weight"} & still
            assert ("item_embedding.weight" in model.state_dict()) == (mode == "transductive")


def kept(model: Any, name: str) -> torch.Tensor:
    """A tensor of the pre-trained model, or one that nothing equals."""
    found: torch.Tensor = model.state_dict().get(name, torch.full((1,), torch.nan))
    return found


def weights_that_were_not_loaded_are_noticed() -> None:
    first, _ = made(more={"train_stage": "pretrain"}, **STILL)
    first.trm_encoder.layer[0].feed_forward.dense_1.bias.data += 1
    checkpoints.write(Path("pretrained.pt"), {"state_dict": first.state_dict()})
    model, _ = made(**STILL)  # nobody told it
    try:
        training._check_taken_over(model, Path("pretrained.pt"))
    except RefusalError as error:
        assert "its pre-trained weights were not loaded (trm_encoder" in str(error)
    else:
        raise AssertionError("a model without the pre-trained weights was let through")


the_loss_of_fine_tuning_is_that_of_cosines()
the_loss_of_pretraining_is_the_sum_of_two_contrasts()
augmentations_drop_items_or_words()
inductive_scores_hang_on_texts_alone()
padding_is_nothing()
fine_tuning_begins_at_the_pretrained_weights_and_moves_what_it_may()
weights_that_were_not_loaded_are_noticed()
print("fine")
