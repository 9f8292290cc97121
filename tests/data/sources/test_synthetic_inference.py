from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_bench.data.sources.synthetic.inference import UNKNOWN, Inference, Seen
from unimp_bench.data.sources.synthetic.reviews import make_bank
from unimp_bench.data.sources.synthetic.sampling import draw_customers, draw_items
from unimp_bench.data.sources.synthetic.truth import Truth
from unimp_bench.data.sources.synthetic.world import LENIENCIES, TYPES, make_world, split_type
from unimp_bench.schemas import HISTORY


@pytest.fixture(scope="module")
def shop() -> Inference:
    world = make_world("tiny", 0)
    return Inference(Truth(world, draw_customers(world), make_bank()))


def examples(histories: list[list[tuple[str, float | None, str | None]]]) -> pl.DataFrame:
    entries = [[{"item_id": i, "rating": r, "explanation": e} for i, r, e in history] for history in histories]
    return pl.DataFrame({"history": entries}, schema={"history": HISTORY})


def by_hand(shop: Inference, items: list[int], ratings: list[int | None]) -> np.ndarray:
    """The posterior by plain loops."""
    world = shop.truth.world
    posterior = np.zeros((TYPES, LENIENCIES))
    for t in range(TYPES):
        for lenient in range(LENIENCIES):
            chance = world.tastes.price_levels[int(split_type(np.array(t))[2])]
            for step, (item, rating) in enumerate(zip(items, ratings, strict=True)):
                category, place = divmod(item, world.each)
                still = [k for k in range(world.each) if category * world.each + k not in items[:step]]
                chance *= world.weights[t, category, place] / sum(world.weights[t, category, k] for k in still)
                if rating is not None:
                    chance *= world.ratings(np.array(t), np.array(lenient), np.array(item))[rating - 1]
            posterior[t, lenient] = chance
    return posterior / posterior.sum()


def test_the_posterior_equals_plain_loops(shop: Inference) -> None:
    ids = shop.truth.world.item_ids
    first: list[int] = [0, 20, 1, 3, 21]
    frame = examples(
        [
            [(ids[i], r, None) for i, r in zip(first, [5.0, 2.0, None, 4.0, 1.0], strict=True)],
            [],
            [(ids[9], 3.0, None)],
        ]
    )
    posterior = shop.posterior(shop.seen(frame))
    np.testing.assert_allclose(posterior[0], by_hand(shop, first, [5, 2, None, 4, 1]), rtol=1e-9)
    np.testing.assert_allclose(posterior[1], shop.prior(), rtol=1e-9)
    np.testing.assert_allclose(posterior[2], by_hand(shop, [9], [3]), rtol=1e-9)


def test_a_further_choice_is_evidence_without_a_rating(shop: Inference) -> None:
    ids = shop.truth.world.item_ids
    seen = shop.seen(examples([[(ids[0], 5.0, None)], [(ids[4], 1.0, None)]]))
    posterior = shop.posterior(seen.followed_by(np.array([2, UNKNOWN])))
    np.testing.assert_allclose(posterior[0], by_hand(shop, [0, 2], [5, None]), rtol=1e-9)
    np.testing.assert_allclose(posterior[1], by_hand(shop, [4], [1]), rtol=1e-9)


def test_what_a_review_speaks_of_is_evidence(shop: Inference) -> None:
    world, bank = shop.truth.world, shop.truth.bank
    sentence = next(
        t for t, k, a, p in zip(bank.texts, bank.kind, bank.aspect, bank.positive, strict=True) if k == a == 0 and p
    )
    silent, spoken = (
        shop.posterior(shop.seen(examples([[(world.item_ids[0], 5.0, text)]])))[0].sum(axis=1)
        for text in (None, sentence)
    )
    weight = world.topics(np.arange(TYPES), np.array(0))[:, 1, 0]
    np.testing.assert_allclose(spoken, silent * weight / (silent * weight).sum(), rtol=1e-9)


def test_strange_items_say_nothing(shop: Inference) -> None:
    item = shop.truth.world.item_ids[5]
    with_stranger = examples([[("B0STRANGER", 1.0, "Whatever it says."), (item, 4.0, "No such sentence.")]])
    alone = examples([[(item, 4.0, None)]])
    np.testing.assert_array_equal(shop.posterior(shop.seen(with_stranger)), shop.posterior(shop.seen(alone)))


def test_next_items_are_a_distribution_over_what_is_not_bought(shop: Inference) -> None:
    world = shop.truth.world
    items = np.array([0, 1, 30])
    seen = Seen(1, np.zeros(3, dtype=int), items, np.full(3, UNKNOWN), np.full(3, UNKNOWN))
    belief = np.zeros((1, TYPES))
    belief[0, 7] = 1.0
    chances = shop.next_items(belief, seen)[0]
    assert chances.sum() == pytest.approx(1.0)
    assert chances[items].max() == 0
    weights = world.weights[7].copy().reshape(-1)
    weights[items] = 0
    category = 0
    expected = world.transitions[30 // world.each, category] * weights[: world.each] / weights[: world.each].sum()
    np.testing.assert_allclose(chances[: world.each], expected)


def test_draws_agree_with_the_closed_form(shop: Inference) -> None:
    world, count = shop.truth.world, 60_000
    drawn = draw_items(world, np.full(count, 11), np.full(count, 2), False, np.random.default_rng(0))
    first = np.bincount(drawn[:, 0], minlength=len(world.item_ids)).argmax()
    after = drawn[drawn[:, 0] == first, 1]
    seen = Seen(1, np.zeros(1, dtype=int), np.array([first]), np.array([UNKNOWN]), np.array([UNKNOWN]))
    belief = np.zeros((1, TYPES))
    belief[0, 11] = 1.0
    expected = shop.next_items(belief, seen)[0]
    found = np.bincount(after, minlength=len(expected)) / len(after)
    error = np.sqrt(expected * (1 - expected) / len(after))
    assert (np.abs(found - expected) <= 5 * error + 1e-12).all()


def test_a_used_up_category_keeps_the_rest_a_distribution(shop: Inference) -> None:
    world = shop.truth.world
    items = np.arange(world.each)  # all of category 0
    nothing = np.full(world.each, UNKNOWN)
    seen = Seen(1, np.zeros(world.each, dtype=int), items, nothing, nothing)
    chances = shop.next_items(shop.prior().sum(axis=1)[None, :], seen)[0]
    assert chances[items].max() == 0
    assert chances.sum() == pytest.approx(1.0)


def test_long_histories_reveal_the_type(shop: Inference) -> None:
    world, count = shop.truth.world, 200
    types = np.random.default_rng(0).choice(TYPES, count, p=shop.prior().sum(axis=1))
    drawn = draw_items(world, types, np.full(count, 20), False, np.random.default_rng(1))
    nothing = np.full(drawn.size, UNKNOWN)
    seen = Seen(count, np.repeat(np.arange(count), 20), drawn.ravel(), nothing, nothing)
    belief = shop.posterior(seen).sum(axis=2)
    style = belief.reshape(count, 8, -1).sum(axis=2).argmax(axis=1)
    assert (style == split_type(types)[0]).mean() > 0.85
    # Calibrated: the belief in the truth is, on average, the belief in the favourite.
    assert belief[np.arange(count), types].mean() == pytest.approx((belief**2).sum(axis=1).mean(), abs=0.06)
