from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unimp_bench.data.sources.synthetic import listings, truth
from unimp_bench.data.sources.synthetic.reviews import make_bank
from unimp_bench.data.sources.synthetic.sampling import draw_customers, draw_days, draw_items, draw_purchases, pick
from unimp_bench.data.sources.synthetic.world import (
    SIZES,
    TYPES,
    World,
    item_code,
    join_type,
    make_world,
    split_type,
)
from unimp_bench.errors import IncompleteError


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("tiny", 0)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_chances_sum_to_one_and_never_cross_the_wall(size: str) -> None:
    world = make_world(size, 0)
    np.testing.assert_allclose(world.transitions.sum(axis=1), 1.0)
    assert world.transitions[np.ix_(world.held_out, ~world.held_out)].max() == 0
    assert world.transitions[np.ix_(~world.held_out, world.held_out)].max() == 0
    assert world.start[world.held_out].sum() == pytest.approx(1.0)
    assert world.start[~world.held_out].sum() == pytest.approx(1.0)
    assert len(set(world.item_ids)) == len(world.item_ids) == world.categories * world.each
    assert len(set(world.category_paths)) == world.categories


def test_transitions_are_sparse_and_lead_across_domains() -> None:
    world = make_world("small", 0)
    strong = np.argwhere(world.transitions > 0.15)
    assert len(strong) == pytest.approx(2 * world.categories, abs=world.categories // 2)
    crossing = [world.category_domains[a] != world.category_domains[b] for a, b in strong]
    assert 0.2 < np.mean(crossing) < 0.8


def test_types_fold_and_unfold() -> None:
    assert [part.tolist() for part in split_type(np.array([0, 95]))] == [[0, 7], [0, 3], [0, 2]]
    assert np.array_equal(join_type(*split_type(np.arange(TYPES))), np.arange(TYPES))


def test_fits_of_three_items_by_hand(world: World) -> None:
    by_hand = replace(world, style=np.array([2, 5, 1]), house=np.array([1, 1, 0]), price=np.array([0, 1, 2]))
    style, brand, price = by_hand.fits(join_type(np.array(2), np.array(1), np.array(0)), np.arange(3))
    assert style.tolist() == [1.0, 0.4, 0.0]  # own, kindred (three further), neither
    assert brand.tolist() == [1.0, 1.0, 0.0]
    assert price.tolist() == [1.0, 0.4, 0.0]


def test_ratings_rise_with_fit_and_leniency(world: World) -> None:
    every = np.arange(len(world.item_ids))
    chances = world.ratings(np.array(0), np.array(0), every)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    mean = chances @ np.arange(1, 6)
    lenient = world.ratings(np.array(0), np.array(1), every) @ np.arange(1, 6)
    assert (lenient > mean).all()
    style, _, _ = world.fits(np.array(0), every)
    assert mean[style == 1].mean() > mean[style == 0].mean() + 0.5


def test_topics_follow_the_verdict(world: World) -> None:
    item = np.array(0)
    topics = world.topics(np.arange(TYPES), item)
    np.testing.assert_allclose(topics.sum(axis=-1), 1.0)
    pleases = world.verdicts(np.arange(TYPES), item)[:, 0]
    assert topics[pleases, 1, 0].min() > topics[~pleases, 1, 0].max()  # praise of style where it pleases


def test_pick_never_draws_a_weight_of_zero() -> None:
    rng = np.random.default_rng(0)
    drawn = pick(np.tile([0.0, 1.0, 0.0, 3.0, 0.0], (4000, 1)), rng)
    assert set(drawn.tolist()) == {1, 3}
    assert (drawn == 3).mean() == pytest.approx(0.75, abs=0.03)


def test_nobody_buys_an_item_twice_and_lengths_are_kept(world: World) -> None:
    lengths = np.array([0, 1, 13, 7])
    items = draw_items(world, np.array([0, 1, 2, 3]), lengths, False, np.random.default_rng(0))
    assert (items >= 0).sum(axis=1).tolist() == lengths.tolist()
    for row in items:
        bought = row[row >= 0].tolist()
        assert len(set(bought)) == len(bought)
        assert not world.held_out[np.array(bought, dtype=int) // world.each].any()


def test_a_used_up_category_is_left_out(world: World) -> None:
    members = np.flatnonzero(~world.held_out)
    total = len(members) * world.each
    items = draw_items(world, np.zeros(2, dtype=int), np.full(2, total), False, np.random.default_rng(0))
    assert [sorted(row) for row in items.tolist()] == [
        sorted((members[:, None] * world.each + np.arange(world.each)).ravel().tolist())
    ] * 2


def test_days_ascend_and_some_are_shared() -> None:
    real = np.ones((2000, 10), dtype=bool)
    steps = np.diff(draw_days(real, np.random.default_rng(0)), axis=1)
    assert steps.min() == 0
    assert (steps == 0).mean() == pytest.approx(0.12, abs=0.01)


def test_only_the_picture_knows_the_style(world: World) -> None:
    turned = replace(world, style=(world.style + 1) % 8)
    for item in range(len(world.item_ids)):
        assert listings.record(world, listings.listing_of(world, item)) == listings.record(
            turned, listings.listing_of(turned, item)
        )


def test_order_of_ids_says_nothing_of_what_an_item_is() -> None:
    world = make_world("large", 0)
    rank = np.argsort(np.argsort(world.item_ids))
    numbers = np.arange(len(rank))
    for values in (world.style, world.price, world.appeal, numbers):
        assert abs(np.corrcoef(rank, values)[0, 1]) < 0.03
    assert item_code(0, 1) != item_code(1, 1)


def test_the_truth_survives_the_disk(world: World, tmp_path: Path) -> None:
    before = truth.Truth(world, draw_customers(world), make_bank())
    truth.write(before, tmp_path)
    after = truth.read(tmp_path)
    assert after.world.item_ids == world.item_ids
    assert after.world.tastes == world.tastes
    assert after.world.category_paths == world.category_paths
    np.testing.assert_array_equal(after.world.weights, world.weights)
    np.testing.assert_array_equal(after.world.transitions, world.transitions)
    assert after.bank.texts == before.bank.texts
    who = [before.user_index[user] for user in after.customers.user_ids]
    np.testing.assert_array_equal(after.customers.types, before.customers.types[who])


def test_a_truth_of_another_version_is_refused(world: World, tmp_path: Path) -> None:
    truth.write(truth.Truth(world, draw_customers(world), make_bank()), tmp_path)
    path = tmp_path / "world.json"
    path.write_text(path.read_text().replace('"generator_version": 1', '"generator_version": 99'))
    with pytest.raises(IncompleteError, match="generator version 99"):
        truth.read(tmp_path)
    path.unlink()
    with pytest.raises(IncompleteError, match="does not hold"):
        truth.read(tmp_path)


def test_passers_by_buy_too_little_to_stay(world: World) -> None:
    bought = draw_purchases(world, draw_customers(world), held_out=False)
    count = np.bincount(bought.users)
    users = SIZES["tiny"].users
    assert count[:users].min() >= SIZES["tiny"].rows[0]
    assert count[users:].max() < 5
