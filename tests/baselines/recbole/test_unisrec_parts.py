"""UniSRec's own parts, without RecBole: adaptor, contrast, augmentations; by hand and by loops over single rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from unimp_baselines.recbole import unisrec_net
from unimp_baselines.recbole.unisrec import UniSRec
from unimp_baselines.recbole.unisrec_net import Adaptor, contrast, without
from unimp_baselines.recbole.unisrec_words import with_gaps
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.features.content import texts


def adaptor(dropout: float = 0.0) -> Adaptor:
    torch.manual_seed(0)
    made = Adaptor(3, 2, 2, dropout, 0.5)
    with torch.no_grad():
        for value in (made.bias, made.gate, made.noise):
            value.normal_()
    return made


def test_an_item_vector_is_the_mixture_of_whitenings() -> None:
    net = adaptor().eval()
    rows = torch.tensor([[1.0, 0, 2], [0, 3, 1], [0, 0, 0]])
    net.measure(rows)
    assert net.scale.item() == pytest.approx((15 / 6) ** -0.5)  # of the two rows that say something
    found = net(rows).detach().numpy()
    weight, bias, gate = (value.detach().numpy() for value in (net.weight, net.bias, net.gate))
    for row, vector in zip(rows.numpy() * net.scale.item(), found, strict=True):
        shares = np.exp(row @ gate) / np.exp(row @ gate).sum()
        wanted = sum(shares[k] * (weight[k].T @ (row - bias[k])) for k in range(2))
        np.testing.assert_allclose(vector, wanted, rtol=1e-5)


def test_gates_are_noisy_in_training_only_and_as_much_as_learned() -> None:
    net = adaptor()
    rows = torch.tensor([[1.0, 0, 2]]).expand(4000, 3)
    logits = net.gates(rows).log().detach()
    difference = logits[:, 0] - logits[:, 1]
    spread = torch.nn.functional.softplus(rows[0] @ net.noise) + 0.01
    assert difference.mean().item() == pytest.approx((rows[0] @ (net.gate[:, 0] - net.gate[:, 1])).item(), abs=0.1)
    assert difference.std().item() == pytest.approx(spread.norm().item(), rel=0.1)
    assert net.eval().gates(rows).std(0).max().item() < 1e-6


def test_pieces_change_neither_vectors_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(7, 3)
    found = []
    for piece in (100, 2):
        monkeypatch.setattr(unisrec_net, "_PIECE", piece)
        net = adaptor().eval()
        vectors = net(rows)
        vectors.square().sum().backward()
        assert net.weight.grad is not None
        found.append((vectors.detach(), net.weight.grad))
    torch.testing.assert_close(*(vectors for vectors, _ in found))
    torch.testing.assert_close(*(gradient for _, gradient in found))


def test_contrast_leaves_out_rows_with_the_same_next_item() -> None:
    left, right = torch.randn(4, 3), torch.randn(4, 3)
    targets = [7, 8, 7, 9]
    a, b = (m / m.norm(dim=1, keepdim=True) for m in (left, right))
    wanted = 0.0
    for i in range(4):
        others = [k for k in range(4) if k == i or targets[k] != targets[i]]
        shares = torch.stack([torch.exp(a[i] @ b[k] / 0.07) for k in others])
        wanted -= float(torch.log(torch.exp(a[i] @ b[i] / 0.07) / shares.sum())) / 4
    found = contrast(left, right, torch.tensor(targets), 0.07)
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    # Row 2's partner, a twin of row 0's target, may be whatever it likes.
    right[2] = left[0]
    apart = contrast(left[:1], right[:1], torch.tensor([7]), 0.07)
    twins = contrast(left[[0, 2]], right[[0, 2]], torch.tensor([7, 7]), 0.07)
    assert apart.item() == twins.item() == 0.0


def test_dropped_items_leave_no_gap_and_the_first_stays() -> None:
    items = torch.tensor([[3, 4, 5, 6], [3, 4, 0, 0], [9, 0, 0, 0]])
    dropped = torch.tensor([[True, True, False, True], [False, False, True, True], [True, True, True, True]])
    rows, lengths = without(items, dropped)
    assert rows.tolist() == [[3, 5, 0, 0], [3, 4, 0, 0], [9, 0, 0, 0]]
    assert lengths.tolist() == [2, 2, 1]


def test_gaps_take_a_share_of_the_words_and_keep_their_order(shop: Dataset) -> None:
    view = shop.catalogue()
    view = replace(view, items=view.items.with_columns(title=view.items["title"].repeat_by(20).list.join(" ")))
    before, after = (texts(given.items) for given in (view, with_gaps(view, 0.2)))
    lengths = [(len(b.split()), len(a.split())) for b, a in zip(before, after, strict=True)]
    assert sum(a for _, a in lengths) / sum(b for b, _ in lengths) == pytest.approx(0.8, abs=0.04)
    assert len({b - a for b, a in lengths}) > 1
    for whole, left in zip(before, after, strict=True):
        rest = iter(whole.split())
        assert all(word in rest for word in left.split())  # a subsequence
    assert texts(with_gaps(view, 0.2).items) == after
    assert texts(with_gaps(view, 0.0).items) == before
    assert texts(with_gaps(view, 1.0).items) == [""] * len(before)
    assert with_gaps(view, 0.2).items.schema == view.items.schema


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pretrain_epochs": 0}, "pretrain_epochs is below 1"),
        ({"pretrain_batch": 1}, "a contrast needs two sequences"),
        ({"experts": 0}, "experts=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"drop": 1.5}, "drop=1.5; wanted from 0 to 1"),
        ({"mode": "transductive", "new_domain": "zero_shot"}, "new_domain=zero_shot needs mode=inductive"),
    ],
)
def test_parameters_without_meaning_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"UniSRec: .*{message}"):
        UniSRec(**wrong)  # type: ignore[arg-type]
