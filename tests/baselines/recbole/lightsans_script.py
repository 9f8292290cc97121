"""Checks of `lightsans_model.py` in a process of their own; ends with an error or "fine"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unimp_baselines.recbole import compat

compat.apply()

import torch  # noqa: E402
from recbole.model.sequential_recommender.lightsans import LightSANs as RecBoleLightSANs  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from unimp_baselines.recbole.datasets import Arrays  # noqa: E402
from unimp_baselines.recbole.lightsans import LightSANs as Runner  # noqa: E402
from unimp_baselines.recbole.lightsans_model import LightSANs  # noqa: E402
from unimp_baselines.recbole.requests import Model  # noqa: E402
from unimp_baselines.recbole.setup import configure, dataset_of  # noqa: E402

ITEMS = 9


def made(cls: Any, loss: Any = "ce", *, moved: bool = True) -> tuple[Any, Any]:
    empty, starts = np.zeros(0, np.int64), np.arange(3) * 4
    none: dict[str, Any] = {
        "valid_users": empty,
        "valid_targets": empty,
        "valid_histories": empty,
        "valid_starts": np.zeros(1, int),
    }
    attributes: dict[str, Any] = {"attributes": empty, "attribute_starts": np.zeros(ITEMS + 1, int)}
    rows = np.array([1, 2, 3, 4, 9, 8, 7, 6])
    np.savez("feed.npz", users=2, items=ITEMS, sequences=rows, sequence_starts=starts, **attributes, **none)
    settings = Runner(embedding=8, inner=8, heads=2, interests=3, loss=loss).settings()
    config = configure(Model("LightSANs", True, settings, False, True), ITEMS, 1, ".")
    data = dataset_of(config, Arrays.read(Path("feed.npz")), "next", 1, True)
    torch.manual_seed(0)
    model = cls(config, data)
    for value in model.parameters() if moved else ():
        value.data.add_(torch.randn_like(value) * 0.3)
    return model.eval(), data


def shift(model: Any) -> float:
    """By how much padding moves the output for a history of three items."""
    rows, lengths = torch.tensor([[3, 5, 1]]), torch.tensor([3])
    moved: torch.Tensor = model(rows, lengths) - model(F.pad(rows, (0, 20)), lengths)
    return moved.abs().max().item()


def padding_is_nothing_to_ours_and_something_to_recboles() -> None:
    assert shift(made(LightSANs)[0]) < 1e-5
    assert shift(made(RecBoleLightSANs)[0]) > 1e-2


def attention_is_the_papers() -> None:
    attention = made(LightSANs)[0].trm_encoder.layer[0].multi_head_attention
    items, positions = torch.randn(1, 5, 8), torch.randn(5, 8)
    real = torch.tensor([[True, True, True, False, False]])
    found = attention(items, positions, real)[0]
    x, places = items[0, :3], attention.pos_ln(positions)[:3]
    query, key, value = attention.query(x), attention.key(x), attention.value(x)
    keys = torch.zeros(3, 8)
    values = torch.zeros(3, 8)
    for k in range(3):
        for table, source, part in ((keys, key, attention.attpooling_key), (values, value, attention.attpooling_value)):
            near = torch.stack([source[j] @ part.theta[:, k] for j in range(3)]).softmax(0)
            table[k] = sum(near[j] * source[j] for j in range(3))
    out = torch.zeros(3, 8)
    for head in (slice(0, 4), slice(4, 8)):
        for i in range(3):
            item = (keys[:, head] @ query[i, head] / 2).softmax(0)
            place = (attention.pos_k_linear(places)[:, head] @ attention.pos_q_linear(places)[i, head] / 2).softmax(0)
            out[i, head] = item @ values[:, head] + place @ value[:, head]
    assert torch.allclose(found[:3], attention.LayerNorm(attention.dense(out) + x), atol=1e-5)


def every_parameter_learns_under_both_losses() -> None:
    for loss in ("ce", "bpr"):
        model, data = made(LightSANs, loss)
        batch = data[torch.arange(len(data))]
        batch.interaction["neg_item_id"] = batch["item_id"] % ITEMS + 1
        model.calculate_loss(batch).backward()
        unmoved = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
        assert not [name for name in unmoved if not name.endswith(("key.bias", "pos_k_linear.bias"))], unmoved


def layers_gather_by_matrices_of_their_own_and_recboles_begin_alike() -> None:
    for cls in (LightSANs, RecBoleLightSANs):
        layers = made(cls, moved=False)[0].trm_encoder.layer
        first, second = (layer.multi_head_attention.attpooling_key.theta for layer in layers)
        assert torch.equal(first, second) == (cls is RecBoleLightSANs)


padding_is_nothing_to_ours_and_something_to_recboles()
attention_is_the_papers()
every_parameter_learns_under_both_losses()
layers_gather_by_matrices_of_their_own_and_recboles_begin_alike()
print("fine")
