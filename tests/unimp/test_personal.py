"""What a trained model must owe to histories, and must not owe to how items are numbered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unimp import learning_shop
from tests.unimp.training_runs import run
from unimp.batching import Rows
from unimp.decoding import Decoder
from unimp.modeling import Unimp
from unimp.recipe import Recipe
from unimp.shop import Example, Ints, Shop
from unimp.validation import ndcg

pytestmark = pytest.mark.slow  # eight trainings

RECIPE = Recipe(epochs=15, lr=1e-2)
SEEDS = 4


def walks(seed: int) -> Shop:
    """Customers who take the next item of the ring two times of three, any item else."""
    shop, rng = learning_shop.shop(users=60, seed=seed), np.random.default_rng(seed)
    log, item = shop.log, shop.log.item.copy()
    for user in range(log.users):
        for row in range(int(log.offsets[user]) + 1, int(log.offsets[user + 1])):
            item[row] = (
                (item[row - 1] + 1) % learning_shop.ITEMS if rng.random() < 2 / 3 else rng.integers(learning_shop.ITEMS)
            )
    return replace(shop, log=replace(log, item=item), selection=())


def renumbered(shop: Shop, number: Ints) -> Shop:
    """The same shop where item k is called `number[k]`."""
    old = np.argsort(number)
    items = replace(
        shop.items,
        ids=tuple(shop.items.ids[k] for k in old),
        bodies=tuple(shop.items.bodies[k] for k in old),
        titles=tuple(shop.items.titles[k] for k in old),
        picture_ids=tuple(shop.items.picture_ids[k] for k in old),
    )
    return replace(shop, items=items, log=replace(shop.log, item=number[shop.log.item]))


def trained(folder: Path, shop: Shop, number: Ints, seed: int) -> tuple[Unimp, Rows]:
    """A model that learned recommendation from a shop of so numbered items, and its rows."""
    old = np.argsort(number)
    rows = learning_shop.rows(renumbered(shop, number), questions={"recommendation": 0})
    model, _ = run(
        folder,
        RECIPE,
        learning_shop.model(seed),
        rows=rows,
        patches=lambda wanted: learning_shop.patches(torch.as_tensor(old)[wanted]),
        has_picture=learning_shop.HAS_PICTURE[old],
    )
    return model, rows


def asked(shop: Shop, number: Ints) -> list[Example]:
    """The last item of each customer, from those before."""
    found, log = [], shop.log
    for user in range(log.users):
        first, last = int(log.offsets[user]), int(log.offsets[user + 1]) - 1
        own, ratings, whys = number[log.item[first : last + 1]], log.rating[first:last], log.why[first:last]
        found.append(Example("", "", own[:-1], ratings, whys, answer_items=(int(own[-1]),)))
    return found


def reached(model: Unimp, rows: Rows, number: Ints, examples: list[Example]) -> float:
    old = np.argsort(number)
    decoder = Decoder(
        model,
        rows.writer,
        lambda wanted: learning_shop.patches(torch.as_tensor(old)[wanted]),
        learning_shop.HAS_PICTURE[old],
    )
    scores = decoder.rank("recommendation", examples)
    return ndcg(scores, [replace(one, history=one.history[:0]) for one in examples])


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Unimp, Rows]]:
    number = np.arange(learning_shop.ITEMS)
    folder = tmp_path_factory.mktemp("numbered")
    return [trained(folder / str(seed), walks(0), number, seed) for seed in range(SEEDS)]


def test_exchanged_histories_give_strictly_lower_figures(as_it_is: list[tuple[Unimp, Rows]]) -> None:
    number = np.arange(learning_shop.ITEMS)
    own = asked(walks(1), number)
    exchanged = [
        replace(one, history=other.history, ratings=other.ratings, whys=other.whys)
        for one, other in zip(own, [*own[1:], own[0]], strict=True)
    ]
    for model, rows in as_it_is:
        assert reached(model, rows, number, exchanged) < reached(model, rows, number, own) - 0.1


def test_other_numbers_of_items_change_figures_within_noise_alone(
    as_it_is: list[tuple[Unimp, Rows]], tmp_path: Path
) -> None:
    plain, own = np.arange(learning_shop.ITEMS), asked(walks(1), np.arange(learning_shop.ITEMS))
    before = np.array([reached(model, rows, plain, own) for model, rows in as_it_is])
    after = []
    for seed in range(SEEDS):
        number = np.random.default_rng([seed, 8]).permutation(learning_shop.ITEMS)
        model, rows = trained(tmp_path / str(seed), walks(0), number, seed)
        after.append(reached(model, rows, number, asked(walks(1), number)))
    noise = max(before.std(ddof=1), np.std(after, ddof=1))
    assert 0 < noise < 0.1  # so that the line below can fail
    assert abs(before.mean() - np.mean(after)) < 2 * noise
