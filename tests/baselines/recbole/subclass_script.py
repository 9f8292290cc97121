"""Check losses and scores of MACR, UltraGCN, VBPR and CausalRec against NumPy; ends with an error or "fine"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unimp_baselines.recbole import compat

compat.apply()

import torch  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from scipy import sparse  # noqa: E402

from unimp_baselines.recbole.datasets import Arrays  # noqa: E402
from unimp_baselines.recbole.refusals import RefusalError  # noqa: E402
from unimp_baselines.recbole.requests import Model  # noqa: E402
from unimp_baselines.recbole.setup import configure, dataset_of, model_class  # noqa: E402
from unimp_baselines.recbole.ultragcn_model import item_graph  # noqa: E402

USERS, ITEMS = 6, 9
BATCH = (torch.tensor([1, 2, 2, 6]), torch.tensor([3, 9, 3, 1]), torch.tensor([4, 5, 8, 2]))
Array = np.ndarray[Any, np.dtype[np.float64]]


def feed() -> Arrays:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(ITEMS)[: 2 + k % 4] + 1 for k in range(USERS)]
    rows.append(rows.pop().repeat(2))  # bought twice
    starts = np.cumsum([0] + [len(row) for row in rows])
    none = np.zeros(0, np.int64)
    np.savez(
        "feed.npz",
        users=USERS,
        items=ITEMS,
        sequences=np.concatenate(rows),
        sequence_starts=starts,
        valid_users=none,
        valid_targets=none,
        valid_histories=none,
        valid_starts=np.zeros(1, np.int64),
        attributes=none,
        attribute_starts=np.zeros(ITEMS + 1, np.int64),
    )
    return Arrays.read(Path("feed.npz"))


def made(name: str, **settings: Any) -> Any:
    values = np.random.default_rng(1).normal(size=(ITEMS, 5)).astype(np.float32)
    values[3] = 0  # an item without a picture
    np.save("image.npy", values)
    asked = Model(name, True, settings, False, False, {"image": "image.npy"})
    config = configure(asked, ITEMS, 1, ".")
    torch.manual_seed(0)
    model = model_class(asked)(config, dataset_of(config, feed(), "next", 1, False, asked.features))
    for weight in model.parameters():  # all are heard
        torch.nn.init.normal_(weight, std=0.5)
    return model


def value(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def sigma(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found


def batch() -> Interaction:
    return Interaction(dict(zip(("user_id", "item_id", "neg_item_id"), BATCH, strict=True)))


def close(found: torch.Tensor, wanted: Any) -> None:
    assert np.allclose(value(found), wanted, rtol=1e-5, atol=1e-6), (value(found), wanted)


def macr() -> None:
    model = made("MACR", embedding_size=4, alpha=0.3, beta=0.2, reg_weight=0.1, c=[0.5, 2.0, 1.0])
    u, i, j = BATCH
    p, q = value(model.user_embedding.weight), value(model.item_embedding.weight)
    w_u, w_i = value(model.user_branch.weight)[0], value(model.item_branch.weight)[0]
    total = 0.0
    for a, b, c in zip(u.tolist(), i.tolist(), j.tolist(), strict=True):
        user, right, wrong = sigma(p[a] @ w_u), sigma(q[b] @ w_i), sigma(q[c] @ w_i)
        y, other = p[a] @ q[b] * right * user, p[a] @ q[c] * wrong * user
        total -= np.log(sigma(y)) + np.log(1 - sigma(other))
        total -= 0.3 * (np.log(right) + np.log(1 - wrong)) + 0.2 * (np.log(user) + np.log(1 - user))
        total += 0.1 / 2 * sum((x**2).sum() for x in (p[a], q[b], q[c]))
    close(model.calculate_loss(batch()), total / len(u))
    model.c.fill_(1.5)
    scores = (p[u] @ q.T - 1.5) * sigma(p[u] @ w_u)[:, None] * sigma(q @ w_i)
    close(model.full_sort_predict(batch()), scores)
    said: list[float] = []

    def validate() -> float:
        said.append(float(model.c))
        return 0.5 if model.c >= 1 else 0.2

    assert model.tune(validate) == 0.5
    assert (said, float(model.c)) == ([0.5, 2.0, 1.0], 1.0)  # the smallest of equally good ones
    assert "c" in model.state_dict()


def ultragcn() -> None:
    model = made(
        "UltraGCN",
        embedding_size=4,
        w=[0.1, 0.7, 0.2, 0.6],
        negatives=3,
        negative_weight=5.0,
        neighbours=2,
        item_weight=0.4,
        reg_weight=0.01,
        start=1e-4,
        train_neg_sample_args=None,
    )
    arrays = feed()
    a = np.zeros((USERS + 1, ITEMS + 1))
    for user in range(USERS):
        a[user + 1, arrays.sequences[arrays.sequence_starts[user] : arrays.sequence_starts[user + 1]].numpy()] = 1
    d_u, d_i = a.sum(1), a.sum(0)
    graph = a.T @ a
    g = graph.sum(1)
    omega = graph * (np.sqrt(g + 1) / np.maximum(g, 1))[:, None] / np.sqrt(g + 1)
    p, q = value(model.user_embedding.weight), value(model.item_embedding.weight)
    users, items = torch.from_numpy(np.argwhere(a)).T
    others = torch.tensor([2, 5, 9])
    drawn_and_bought = 0
    total = 0.0
    for u, i in zip(users.tolist(), items.tolist(), strict=True):
        beta = np.sqrt((d_u[u] + 1) / (d_i + 1)) / d_u[u]
        total -= (0.1 + 0.7 * beta[i]) * np.log(sigma(p[u] @ q[i]))
        wrong = [j for j in others.tolist() if not a[u, j]]
        drawn_and_bought += 3 - len(wrong)
        total -= 5.0 * sum((0.2 + 0.6 * beta[j]) * np.log(1 - sigma(p[u] @ q[j])) for j in wrong) / max(1, len(wrong))
        for k in np.argsort(-omega[i], kind="stable")[:2]:
            total -= 0.4 * omega[i, k] * np.log(sigma(p[u] @ q[k]))
    assert drawn_and_bought
    total += 0.01 / 2 * ((p**2).sum() + (q**2).sum())
    close(model.loss(users, items, others), total)
    pairs = sparse.csr_matrix(a)
    near, strength = item_graph(pairs, 4)
    for i in range(ITEMS + 1):
        best = np.argsort(-omega[i], kind="stable")[:4]
        assert np.allclose(strength[i], omega[i, best])
        assert near[i].tolist() == [int(k) if omega[i, k] else 0 for k in best]
    for cells in (1, 20):  # however the rows are cut into blocks
        assert all(np.array_equal(x, y) for x, y in zip(item_graph(pairs, 4, cells), (near, strength), strict=True))


PENALTIES = {"embedding_size": 4, "visual_size": 3, "reg_weight": 0.3, "bias_reg_weight": 0.2, "layer_reg_weight": 0.1}


def penalty(model: Any) -> float:
    u, i, j = BATCH
    squares = [(value(x) ** 2).sum() for x in (model.user_embedding.weight[u], model.visual_user.weight[u])]
    squares += [(value(model.item_embedding.weight[x]) ** 2).sum() for x in (i, j)]
    bias = (value(model.item_bias) ** 2)[i].sum() + (value(model.item_bias) ** 2)[j].sum() / 10
    layers = sum((value(layer.weight) ** 2).sum() for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    return float(0.3 * sum(squares) + 0.2 * bias + 0.1 * layers) / 2 / len(u)


def vbpr() -> None:
    model = made("VBPR", **PENALTIES)
    f = value(model.features)
    assert np.allclose(np.linalg.norm(f, axis=1), [0, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    x = value(model.user_embedding.weight) @ value(model.item_embedding.weight).T
    x += value(model.visual_user.weight) @ (f @ value(model.projection.weight).T).T
    x += value(model.item_bias) + f @ value(model.visual_bias.weight)[0]
    u, i, j = (part.numpy() for part in BATCH)
    close(model.scores(*BATCH[:2]), x[u, i])
    close(model.calculate_loss(batch()), -np.log(sigma(x[u, i] - x[u, j])).mean() + penalty(model))
    close(model.eval().full_sort_predict(batch()), x[u])
    with torch.no_grad():
        model.train()
        model.item_bias += 1
    close(model.eval().full_sort_predict(batch()), x[u] + 1)  # what it found before is forgotten


def causalrec() -> None:
    for tanh in (0, 1, 2):
        model = made("CausalRec", **PENALTIES, tanh=tanh, debias=0.7)
        f, q, bias = value(model.features), value(model.item_embedding.weight), value(model.item_bias)

        def squashed(x: Array, first: Any, second: Any, depth: int = tanh) -> Array:
            x = x @ value(first.weight).T
            x = np.tanh(x) if depth else x
            found: Array = np.tanh(x @ value(second.weight).T) if depth == 2 else x
            return found

        gate = squashed(f, model.gate, model.second_gate)
        p, theta = value(model.user_embedding.weight), value(model.visual_user.weight)
        m = bias + p @ (q * (1 + gate)).T
        n = theta @ squashed(f, model.projection, model.second_projection).T + f @ value(model.visual_bias.weight)[0]
        y = sigma(m + n) * sigma(m) * sigma(n)
        u, i, j = (part.numpy() for part in BATCH)
        wanted = sum(-np.log(sigma(z[u, i] - z[u, j])).mean() for z in (y, m, n))
        close(model.calculate_loss(batch()), wanted + penalty(model))
        shown = [k for k in range(1, ITEMS + 1) if k != 4]
        usual = squashed(f[shown].mean(0), model.gate, model.second_gate)
        star = (bias[1:].mean() + p @ (q[1:].mean(0) * (1 + usual)))[:, None]
        effect = y - 0.7 * sigma(star + n) * sigma(star) * sigma(n)
        model.eval()
        for _ in range(2):  # nothing piles up
            close(model.full_sort_predict(batch()), effect[u])


def features_of_other_items_are_refused() -> None:
    np.save("few.npy", np.zeros((ITEMS - 1, 5), np.float32))
    config = configure(Model("MACR", True, {}, False, False), ITEMS, 1, ".")
    try:
        dataset_of(config, feed(), "next", 1, False, {"image": "few.npy"})
    except RefusalError as error:
        assert "few.npy has not one row of finite numbers for each of 9 items" in str(error)
    else:
        raise AssertionError("taken")


if __name__ == "__main__":
    macr()
    ultragcn()
    vbpr()
    causalrec()
    features_of_other_items_are_refused()
    print("fine")
