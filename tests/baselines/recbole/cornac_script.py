"""Check VBPR and CausalRec against Cornac's, a row at a time; ends with an error or "fine".

A batch of one is the only one that Cornac's (B, 1) + (B,) = (B, B) leaves right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from subclass_script import BATCH, ITEMS, PENALTIES, USERS, batch, close, made, value


class Batches:
    """Train triples for Cornac, in batches of a size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def num_batches(self, size: int) -> int:
        return len(BATCH[0]) // self.size

    def uij_iter(self, size: int, shuffle: bool) -> Any:
        for first in range(0, len(BATCH[0]), self.size):
            yield tuple(part[first : first + self.size].numpy() for part in BATCH)


def theirs(model: Any, kind: Any, size: int, **settings: Any) -> tuple[Any, float]:
    """Cornac's model with these parameters, and the sum of its batches' losses."""
    names = {
        "Gu": model.user_embedding.weight,
        "Gi": model.item_embedding.weight,
        "Tu": model.visual_user.weight,
        "Bi": model.item_bias,
        "E": model.projection.weight.T,
        "Bp": model.visual_bias.weight.T,
        **({"E_ind": model.gate.weight.T} if hasattr(model, "gate") else {}),
    }
    if settings.get("tanh") == 2:
        names |= {"E2": model.second_projection.weight.T, "E_ind2": model.second_gate.weight.T}
    start = {name: weight.detach().numpy().copy() for name, weight in names.items()}
    other = kind(
        k=4,
        k2=3,
        n_epochs=1,
        batch_size=size,
        learning_rate=0.0,
        lambda_w=0.3,
        lambda_b=0.2,
        lambda_e=0.1,
        init_params=start,
        verbose=False,
        **settings,
    )
    losses: list[float] = []
    backward = torch.Tensor.backward

    def listening(self: torch.Tensor, *given: Any, **named: Any) -> None:
        losses.append(float(self))
        backward(self, *given, **named)

    torch.Tensor.backward = listening  # type: ignore[assignment,method-assign]
    features = value(model.features).astype(np.float32)
    other._init(USERS + 1, ITEMS + 1, features)
    other._fit_torch(Batches(size), features)
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    assert len(losses) == len(BATCH[0]) // size
    return other, sum(losses)


def each_row(model: Any) -> float:
    """The sum of our losses of batches of one row."""
    rows = zip(*(part[:, None] for part in BATCH), strict=True)
    return sum(float(model.loss(*row)) for row in rows)


def cornac() -> None:
    from cornac.models import VBPR, CausalRec

    model = made("VBPR", **PENALTIES)
    other, loss = theirs(model, VBPR, 1)
    assert np.isclose(each_row(model), loss, rtol=1e-5), (each_row(model), loss)
    whole = len(BATCH[0]) * float(model.loss(*BATCH))
    assert not np.isclose(theirs(model, VBPR, 4)[1], whole, rtol=0.05)  # the broadcast; gone, this test should know
    scores = model.eval().full_sort_predict(batch())
    close(scores, np.stack([other.score(int(u)) for u in BATCH[0]]))
    for tanh in (0, 1, 2):
        model = made("CausalRec", **PENALTIES, tanh=tanh, debias=0.7)
        mean = model.mean_features.numpy()
        scores = model.eval().full_sort_predict(batch())
        for row, user in enumerate(BATCH[0].tolist()):  # a fresh one for each user: its scores pile up
            other, loss = theirs(model, CausalRec, 1, tanh=tanh, lambda_2=0.7, mean_feat=mean)
            other.beta_item_mean, other.gamma_item_mean = means(model)
            close(scores[row], other.score(user))
        assert np.isclose(each_row(model), loss, rtol=1e-5), (each_row(model), loss)
        assert not np.allclose(other.score(user), value(scores[row]), atol=1e-3)  # the second time


def means(model: Any) -> tuple[Any, Any]:
    """Means of items without the padding, which Cornac does not have."""
    bias, vectors = model.item_bias.detach()[1:], model.item_embedding.weight.detach()[1:]
    return bias.mean()[None].numpy(), vectors.mean(0)[None].numpy()


if __name__ == "__main__":
    cornac()
    print("fine")
