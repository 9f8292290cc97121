"""Checks of models, rows and settings of RecBole in a process of their own; ends with an error or "fine"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from unimp_baselines.recbole import compat

compat.apply()

import torch  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402

from unimp_baselines.recbole import setup  # noqa: E402
from unimp_baselines.recbole.datasets import AlikeRows, Arrays, next_rows, whole_rows  # noqa: E402
from unimp_baselines.recbole.refusals import RefusalError  # noqa: E402
from unimp_baselines.recbole.requests import Model  # noqa: E402
from unimp_baselines.recbole.setup import batch_size, configure, dataset_of, model_class  # noqa: E402

USERS, ITEMS = 6, 9
NONE: dict[str, Any] = {"loss_type": "CE", "train_neg_sample_args": None}


def feed() -> Arrays:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(ITEMS)[:4] + 1 for _ in range(USERS)]
    empty, starts = np.zeros(0, np.int64), np.arange(USERS + 1) * 4
    attributes = {"attributes": np.arange(ITEMS) % 4 + 1, "attribute_starts": np.arange(ITEMS + 1)}
    none = {"valid_users": empty, "valid_targets": empty, "valid_histories": empty, "valid_starts": np.zeros(1, int)}
    np.savez(
        "feed.npz",
        users=USERS,
        items=ITEMS,
        sequences=np.concatenate(rows),
        sequence_starts=starts,
        **attributes,
        **none,
    )
    return Arrays.read(Path("feed.npz"))


def made(name: str, rows: Any = "next", **settings: Any) -> tuple[Any, Any]:
    config = configure(Model(name, True, settings, False, True), ITEMS, 1, ".")
    data = dataset_of(config, feed(), rows, 1, False)
    if name == "BERT4Rec":
        from recbole.data.transform import construct_transform

        transform = construct_transform(config)
        data.transform = transform
    torch.manual_seed(0)
    return model_class(Model(name, True, {}, False, True))(config, data), data


def rows_are_cut_as_recbole_cuts_them() -> None:
    users, ends, lengths, targets = next_rows(np.array([0, 4, 5, 5, 8]), 2)
    assert users.tolist() == [1, 1, 1, 4, 4]
    assert targets.tolist() == ends.tolist() == [1, 2, 3, 6, 7]
    assert lengths.tolist() == [1, 2, 2, 1, 2]
    users, ends, lengths, targets = whole_rows(np.array([0, 5, 5, 6]), 2)
    assert users.tolist() == [1, 1, 1, 3]
    assert ends.tolist() == [5, 3, 1, 6]
    assert lengths.tolist() == [2, 2, 1, 1]
    assert targets.tolist() == [4, 2, 0, 5]


def alike_rows_come_once_each() -> None:
    lengths = torch.tensor([3, 1, 2, 5, 1, 4, 2])
    order = list(AlikeRows(lengths, 2, torch.Generator().manual_seed(0)))
    assert sorted(order) == list(range(7))


def hgn_gates_are_trained_and_padding_counts_nothing() -> None:
    model, data = made(
        "HGN", embedding_size=8, MAX_ITEM_LIST_LENGTH=5, pooling_type="average", reg_weight=[0.0, 0.0], **NONE
    )
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = data[torch.arange(len(data))]
    model.calculate_loss(batch).backward()
    adam.step()
    for gate in ("w1.weight", "w2.weight", "b", "w3.weight", "w4.weight", "output_bias"):
        assert not torch.equal(before[gate], dict(model.named_parameters())[gate]), gate
    assert torch.equal(model.item_embedding.weight[0], torch.zeros(8))
    gated = torch.cat([torch.rand(2, 3, 8), torch.zeros(2, 2, 8)], 1)
    user = torch.rand(2, 8)
    full = model.instance_gating(gated, user)
    model.w4.weight.data[3:] = 50  # of padded places
    assert torch.allclose(full, model.instance_gating(gated, user))


def bert4rec_counts_the_first_position_and_keeps_the_whole_history() -> None:
    model, _ = made(
        "BERT4Rec", "whole", hidden_size=8, inner_size=8, mask_ratio=0.5, ft_ratio=0.0, transform="mask_itemseq", **NONE
    )
    model.eval()
    history = torch.tensor([[3, 4, 5]])
    batch = Interaction({"Mask_item_id_list": torch.tensor([[model.mask_token, 4, 5]]), "item_id_list": history})
    for name in ("Pos_item_id", "Neg_item_id", "MASK_INDEX"):
        batch.interaction[name] = torch.zeros(1, 1, dtype=torch.int64)
    assert model.calculate_loss(batch).item() > 0.5
    batch.interaction["Mask_item_id_list"] = history
    assert model.calculate_loss(batch).item() == 0  # no mask, no loss, no NaN
    wide = torch.zeros(2, 50, dtype=torch.int64)
    wide[0, :3] = torch.tensor([3, 4, 5])
    wide[1] = torch.arange(50) % ITEMS + 1
    asked = Interaction({"item_id_list": wide, "item_length": torch.tensor([3, 50])})
    seen: list[torch.Tensor] = []
    forward = model.forward
    model.forward = lambda rows: seen.append(rows.clone()) or forward(rows)
    assert model.full_sort_predict(asked).shape == (2, ITEMS + 1)
    mask = model.mask_token
    assert seen[0][0, :5].tolist() == [3, 4, 5, mask, 0]
    assert seen[0][1].tolist() == [*wide[1, 1:].tolist(), mask]


def s3rec_trains_all_attributes_and_draws_no_mask() -> None:
    settings = {
        "hidden_size": 8,
        "inner_size": 8,
        "mask_ratio": 0.5,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
    }
    model, data = made("S3Rec", "whole", **settings, **NONE)
    batch = data[torch.arange(len(data))]
    torch.manual_seed(1)
    model.calculate_loss(batch).backward()
    assert (model.feature_embedding.weight.grad.abs().sum(1) > 0).all()
    items = batch["item_id_list"]
    drawn = torch.stack([model._not_in(items) for _ in range(20)])
    assert drawn.min() >= 1
    assert drawn.max() <= ITEMS
    assert not (drawn[:, :, :, None] == items[None, :, None, :]).any()
    lengths = (items != 0).sum(1)
    masks = torch.stack([model._mask(items, lengths) for _ in range(50)])
    place = torch.arange(items.shape[1])
    assert masks[:, place == lengths[:, None] - 1].all()
    assert not masks[:, place >= lengths[:, None]].any()
    others = masks[:, place < lengths[:, None] - 1].float().mean()
    assert 0.4 < others < 0.6


def batches_shrink_with_the_catalogue() -> None:
    model = Model("SASRec", True, {"train_batch_size": 2048, **NONE}, False, True)
    config = configure(model, 120_000, 0, ".")
    assert config["train_batch_size"] == batch_size(config, 120_000) == (1 << 26) // 120_001
    sampled = {"loss_type": "BPR", "train_batch_size": 2048}
    assert configure(replace(model, settings=sampled), 120_000, 0, ".")["train_batch_size"] == 2048


def only_wrong_settings_are_refused() -> None:
    def configured(**settings: Any) -> None:
        configure(Model("SASRec", False, settings, False, True), ITEMS, 1, ".")

    with pytest.raises(RefusalError, match="do not fit together: Sequential models"):
        configured(repeatable=False)
    for defect in (KeyError, RuntimeError, TypeError, NotImplementedError):
        broken = patch.object(setup, "Config", side_effect=defect("not a setting's fault"))
        with broken, pytest.raises(defect, match="not a setting's fault") as passed:
            configured()
        assert passed.type is defect


rows_are_cut_as_recbole_cuts_them()
only_wrong_settings_are_refused()
alike_rows_come_once_each()
hgn_gates_are_trained_and_padding_counts_nothing()
bert4rec_counts_the_first_position_and_keeps_the_whole_history()
s3rec_trains_all_attributes_and_draws_no_mask()
batches_shrink_with_the_catalogue()
print("fine")
