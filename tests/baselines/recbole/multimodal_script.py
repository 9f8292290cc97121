"""Check MMGCL and MMSSL against dense NumPy; ends with an error or "fine"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unimp_baselines.recbole import compat

compat.apply()

import torch  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402

from unimp_baselines.recbole import checkpoints  # noqa: E402
from unimp_baselines.recbole.datasets import Arrays  # noqa: E402
from unimp_baselines.recbole.mmgcl import MMGCL  # noqa: E402
from unimp_baselines.recbole.mmssl import MMSSL  # noqa: E402
from unimp_baselines.recbole.runner import RecBoleRunner  # noqa: E402
from unimp_baselines.recbole.setup import configure, dataset_of, model_class  # noqa: E402

USERS, ITEMS, WIDTH = 6, 9, 4
BATCH = (torch.tensor([1, 2, 2, 6]), torch.tensor([3, 9, 3, 1]), torch.tensor([4, 5, 8, 2]))
Array = np.ndarray[Any, np.dtype[np.float64]]
Pair = tuple[Array, Array]


def feed(users: int, items: int, rows: list[Any]) -> Arrays:
    none = np.zeros(0, np.int64)
    np.savez(
        "feed.npz",
        users=users,
        items=items,
        sequences=np.concatenate(rows),
        sequence_starts=np.cumsum([0] + [len(row) for row in rows]),
        valid_users=none,
        valid_targets=none,
        valid_histories=none,
        valid_starts=np.zeros(1, np.int64),
        attributes=none,
        attribute_starts=np.zeros(items + 1, np.int64),
    )
    return Arrays.read(Path("feed.npz"))


def made(runner: RecBoleRunner, given: Arrays, image: Any, text: Any) -> Any:
    np.save("image.npy", image.astype(np.float32))
    np.save("text.npy", text.astype(np.float32))
    asked = runner._model({"image": "image.npy", "text": "text.npy"})
    config = configure(asked, given.items, 1, ".")
    torch.manual_seed(0)
    return model_class(asked)(config, dataset_of(config, given, "next", 1, False, asked.features))


def small(runner: RecBoleRunner, *, loud: bool = True) -> Any:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(ITEMS)[: 2 + k % 3] + 1 for k in range(USERS)]
    rows[0] = rows[0].repeat(2)  # bought twice
    model = made(runner, feed(USERS, ITEMS, rows), rng.normal(size=(ITEMS, 5)), rng.normal(size=(ITEMS, 3)))
    if loud:
        for name, weight in model.named_parameters():  # all are heard
            if not name.startswith("critic"):
                torch.nn.init.normal_(weight, std=0.5)
    return model


def value(tensor: Any) -> Array:
    found: Array = tensor.detach().double().numpy()
    return found


def matrix(graph: Any) -> Array:
    found = np.zeros((USERS + 1, ITEMS + 1))
    found[graph.user.numpy(), graph.item.numpy()] = 1
    return found


def batch() -> Interaction:
    return Interaction(dict(zip(("user_id", "item_id", "neg_item_id"), BATCH, strict=True)))


def unit(x: Array) -> Array:
    found: Array = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return found


def linear(layer: Any, x: Array) -> Array:
    found: Array = x @ value(layer.weight).T + (value(layer.bias) if layer.bias is not None else 0)
    return found


def softmax(x: Array) -> Array:
    found: Array = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    return found


def roots(x: Array) -> Array:
    found: Array = np.where(x > 0, 1 / np.sqrt(np.maximum(x, 1)), 0)
    return found


def bpr(users: Array, items: Array, user: Any, item: Any, other: Any) -> float:
    return float(np.log1p(np.exp((users[user] * (items[other] - items[item])).sum(1))).mean())


def nce(a: Array, b: Array, against: Array, tau: float) -> float:
    """Rows of `b` also stand first in `against`."""
    logits = np.exp(a @ against.T / tau)
    return float(-np.log(np.exp((a * b).sum(1) / tau) / logits.sum(1)).mean())


def gcl_layers(model: Any, items: Array) -> Pair:
    """LightGCN of one modality."""
    a = matrix(model.graph)
    normal = roots(a.sum(1, keepdims=True)) * a * roots(a.sum(0, keepdims=True))
    u, i = value(model.user_embedding.weight), items
    total = [u, i]
    for _ in range(2):
        u, i = normal @ i, normal.T @ u
        total = [total[0] + u, total[1] + i]
    return total[0] / 3, total[1] / 3


def gcl_parts(model: Any) -> Pair:
    first = [value(model.item_embedding.weight)]
    first += [linear(model.project[name], value(model.features(name))) for name in ("image", "text")]
    found = [gcl_layers(model, items) for items in first]
    return np.concatenate([u for u, _ in found], 1), np.concatenate([i for _, i in found], 1)


def mmgcl_is_its_formula(*, literal: bool) -> None:
    runner = MMGCL(embedding=WIDTH, layers=2, drop=0.0, reg=0.3, contrast=0.4, temperature=0.5, literal=literal)
    model = small(runner)
    text = 2 * WIDTH  # columns of texts
    model._drawn_modality = lambda: text
    users, items = gcl_parts(model)
    finals = linear(model.read_user, users), linear(model.read_item, items)
    assert np.allclose(value(model.full_sort_predict(batch())), finals[0][BATCH[0]] @ finals[1].T, atol=1e-4)
    user, item, other = (part.numpy() for part in BATCH)
    squares = sum(
        (value(table.weight)[rows] ** 2).sum()
        for table, rows in ((model.user_embedding, user), (model.item_embedding, item), (model.item_embedding, other))
    )
    if literal:
        u, i = unit(finals[0][user]), unit(finals[1][item])
        contrast = 2 * nce(u, i, i, 0.5)
    else:  # without dropout, both views are the whole graph
        u = unit(finals[0][[1, 2, 6]])
        i = unit(finals[1][[1, 3, 9]])
        challenging = items[[1, 3, 9]].copy()
        challenging[:, text:] = items[[2, 4, 5]][:, text:]  # of those sampled where an item stands first
        wrong = unit(linear(model.read_item, challenging))
        contrast = nce(u, u, u, 0.5) + nce(i, i, np.concatenate([i, wrong]), 0.5)
    wanted = bpr(*finals, user, item, other) + 0.3 * squares / (2 * len(user)) + 0.4 * contrast
    assert np.isclose(float(model.calculate_loss(batch()).detach()), wanted, rtol=1e-4), literal


def mmgcl_views_lack_what_they_should() -> None:
    model = small(MMGCL(embedding=WIDTH, layers=2, drop=0.5))
    graph = model._without_edges()
    left = value(graph.by_user_sums.to_dense())
    assert 0 < left.sum() < matrix(model.graph).sum()
    assert (left <= matrix(model.graph)).all()
    model._drawn_modality = lambda: WIDTH  # pictures
    layer0 = model.layer0()
    whole = gcl_parts(model)
    users, items = model._masked(layer0, tuple(torch.from_numpy(part).float() for part in whole))
    for seen, all_ in ((value(users), whole[0]), (value(items), whole[1])):
        assert np.allclose(seen[:, :WIDTH], all_[:, :WIDTH])
        assert np.allclose(seen[:, 2 * WIDTH :], all_[:, 2 * WIDTH :])
        assert not np.allclose(seen[:, WIDTH : 2 * WIDTH], all_[:, WIDTH : 2 * WIDTH])


def ssl_found(model: Any) -> tuple[Pair, dict[str, Pair], dict[str, Pair]]:
    """Final vectors, features and ids of MMSSL without dropout; modality-aware graphs as the model has them."""

    def sums(a: Array) -> tuple[Any, Any]:
        return (
            lambda x: roots(a.sum(1, keepdims=True)) * (a @ x),
            lambda x: roots(a.T.sum(1, keepdims=True)) * (a.T @ x),
        )

    to_users, to_items = sums(matrix(model.graph))
    features, ids = {}, {}
    tables = value(model.user_embedding.weight), value(model.item_embedding.weight)
    for name in ("image", "text"):
        u = to_users(linear(model.project[name], value(model.features(name))))
        features[name] = u, to_items(u)
        modal = sums(matrix(model.modal_graphs()[name].graph))
        ids[name] = modal[0](tables[1]), modal[1](tables[0])
    start = []
    for side, table in enumerate(tables):
        parts = np.stack([ids["image"][side], ids["text"][side]], 1)
        q, k = (
            linear(layer, parts).reshape(len(parts), 2, 2, 2) for layer in (model.attention.query, model.attention.key)
        )
        share = np.exp(np.einsum("nmhd,nohd->nhmo", q, k) / np.sqrt(2))
        share /= share.sum(-1, keepdims=True)
        mixed = np.einsum("nhmo,nod->nmhd", share, parts).reshape(len(parts), 2, -1)
        start.append(table + 0.36 * unit(linear(model.attention.join, mixed).mean(1)))
    u, i = start
    total = [u, i]
    for layer in range(2):
        last = softmax if layer == 1 else np.asarray
        u = last(to_users(i))
        i = last(to_items(u))
        total = [total[0] + u, total[1] + i]
    final = [t / 3 + 0.55 * sum(unit(features[name][side]) for name in features) for side, t in enumerate(total)]
    return (final[0], final[1]), features, ids


def mmssl_is_its_formula() -> None:
    model = small(MMSSL(embedding=WIDTH, heads=2, dropout=0.0, adversarial=0.0, neighbours=2, reg=0.3, feature_reg=0.2))
    for rebuilt in (False, True):
        if rebuilt:
            model.rebuild = 1
            model._learn_graphs(BATCH[0])
            model.rebuild = 100
        model._found = None
        final, features, ids = ssl_found(model)
        assert np.allclose(value(model.full_sort_predict(batch())), final[0][BATCH[0]] @ final[1].T, atol=1e-4)
        user, item, other = (part.numpy() for part in BATCH)
        squares = (final[0][user] ** 2).sum() + sum((final[1][rows] ** 2).sum() for rows in (item, other))
        sizes = sum((part**2).sum() for pair in features.values() for part in pair)
        different = [1, 2, 6]
        b = unit(final[0][different])
        contrast = 0.0
        for name in ids:
            a = unit(ids[name][0][different])
            own = np.exp(a @ a.T / 0.5)
            between = np.exp(a @ b.T / 0.5)
            contrast -= np.log(between.diagonal() / (own.sum(1) + between.sum(1) - own.diagonal())).mean()
        wanted = bpr(*final, user, item, other) + 0.3 * squares / 8 + 0.2 * sizes / (2 * (ITEMS + 1)) + 0.03 * contrast
        assert np.isclose(float(model.calculate_loss(batch()).detach()), wanted, rtol=1e-4), rebuilt


def modal_graphs_hold_predicted_items_of_users_seen() -> None:
    model = small(MMSSL(embedding=WIDTH, heads=2, neighbours=2, rebuild=2, dropout=0.5))
    observed = matrix(model.graph)
    assert all((matrix(graph.graph) == observed).all() for graph in model.modal_graphs().values())
    model._learn_graphs(torch.tensor([1, 2]))
    assert model.seen.nonzero().flatten().tolist() == [1, 2]
    assert (model.image_near == 0).all()
    assert model.training
    model._learn_graphs(torch.tensor([6, 2]))
    assert not model.seen.any()
    assert model.training
    _, features, _ = ssl_found(model)
    for name, (users, items) in features.items():
        found = matrix(model.modal_graphs()[name].graph)
        scores = np.where(observed > 0, -np.inf, users @ items.T)
        scores[:, 0] = -np.inf
        for user in range(1, USERS + 1):
            best = set(np.argsort(-scores[user])[:2]) if user in (1, 2, 6) else set(np.flatnonzero(observed[user]))
            assert set(np.flatnonzero(found[user])) == best, (name, user)


def critic_and_model_learn_apart() -> None:
    model = small(MMSSL(embedding=WIDTH, heads=2, critic_items=5, critic_users=2))
    assert len(model.columns) == len(set(model.columns.tolist())) == 5
    assert model.columns.min() >= 1
    bought = value(model._bought(torch.tensor([1, 6, 1])))
    assert (bought == matrix(model.graph)[[1, 6, 1]][:, model.columns.numpy()]).all()
    model.calculate_loss(batch()).backward()
    grads = {name: weight.grad for name, weight in model.named_parameters()}
    assert all((grad is None) == name.startswith("critic") for name, grad in grads.items())
    model.zero_grad()
    model.critic_loss(batch()).backward()
    grads = {name: weight.grad for name, weight in model.named_parameters()}
    assert all((grad is not None) == name.startswith("critic") for name, grad in grads.items())


def weights_bring_the_graphs_back() -> None:
    runner = MMSSL(embedding=WIDTH, heads=2, neighbours=2, rebuild=1)
    model, other = small(runner), small(runner, loud=False)
    before = other.full_sort_predict(batch())
    model._learn_graphs(BATCH[0])
    model.eval()
    checkpoints.restore(other, checkpoints.learned(model))
    other.eval()
    assert not torch.allclose(before, other.full_sort_predict(batch()))
    assert torch.equal(model.full_sort_predict(batch()), other.full_sort_predict(batch()))


def groups_are_found(runner: RecBoleRunner, *, cold: bool) -> None:
    """Users of two groups buy from their own; features show an item's group, of items nobody bought too."""
    rng = np.random.default_rng(3)
    users, items = 40, 24
    rows = [np.array([k * 2 + user % 2 for k in rng.permutation(10)[:4]]) + 1 for user in range(users)]
    side = np.where(np.arange(items) % 2 == 0, 1.0, -1.0)[:, None]
    features = [side + rng.normal(scale=0.3, size=(items, 3)) for _ in range(2)]
    model = made(runner, feed(users, items, rows), *features)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    pairs = [(user + 1, int(item)) for user, row in enumerate(rows) for item in row]
    user, item = (torch.tensor(part) for part in zip(*pairs, strict=True))
    for _ in range(25):
        other = torch.from_numpy(rng.integers(1, 21, len(pairs)))
        optimizer.zero_grad()
        model.calculate_loss(Interaction({"user_id": user, "item_id": item, "neg_item_id": other})).backward()
        optimizer.step()
    model.eval()
    scores = value(model.full_sort_predict(Interaction({"user_id": torch.arange(1, users + 1)})))[:, 1:]
    right = (np.arange(users)[:, None] % 2) == (np.arange(items) % 2)
    new = np.ones_like(right)
    for one, row in enumerate(rows):
        new[one, row - 1] = False  # bought ones are no test
    new[:, :20] &= not cold
    new[:, 20:] &= cold
    wins = [
        (mine[good & fresh][:, None] > mine[~good & fresh]).mean()
        for mine, good, fresh in zip(scores, right, new, strict=True)
    ]
    assert np.mean(wins) > 0.9, (type(runner).__name__, cold, np.mean(wins))


mmgcl_is_its_formula(literal=False)
mmgcl_is_its_formula(literal=True)
mmgcl_views_lack_what_they_should()
mmssl_is_its_formula()
modal_graphs_hold_predicted_items_of_users_seen()
critic_and_model_learn_apart()
weights_bring_the_graphs_back()
groups_are_found(MMGCL(embedding=8, contrast=0.02), cold=False)
groups_are_found(MMGCL(embedding=8, contrast=0.02), cold=True)
groups_are_found(MMSSL(embedding=8, critic_items=10, rebuild=5), cold=False)
print("fine")
