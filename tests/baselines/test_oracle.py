from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rouge_score.rouge_scorer import RougeScorer

from unimp_baselines.oracle import Oracle, OracleHistory, OracleUnordered
from unimp_baselines.oracle.answers import rouge_l
from unimp_baselines.oracle.subsets import _most_f1
from unimp_bench import keyed, tables
from unimp_bench.data.sources.synthetic import truth as truths
from unimp_bench.data.sources.synthetic.inference import Inference
from unimp_bench.data.sources.synthetic.pictures import render
from unimp_bench.data.sources.synthetic.reviews import make_bank
from unimp_bench.data.sources.synthetic.sampling import draw_customers
from unimp_bench.data.sources.synthetic.world import make_world
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, Runner, ScoreBlock
from unimp_bench.schemas import EXAMPLES, IMAGES, ITEMS, PREDICTIONS, conform
from unimp_bench.tasks.search import QUERY_STYLES
from unimp_bench.tasks.spec import TASKS


class Shop:
    """A tiny shop's truth on disk, its catalogue with pictures of some items, and one item that the truth lacks."""

    def __init__(self, folder: Path) -> None:
        world = make_world("tiny", 0)
        self.truth = truths.Truth(world, draw_customers(world), make_bank())
        truths.write(self.truth, folder / "truth")
        ids = [*world.item_ids, "B0STRANGER"]
        index = keyed.index_of(pl.Series(ids))
        pictured = [i % 2 == 0 and i < len(world.item_ids) for i in range(len(ids))]
        items = pl.DataFrame(
            {
                "item_id": ids,
                "item_index": index,
                "domain": [*(world.category_domains[i // world.each] for i in range(len(world.item_ids))), "baby"],
                "image_id": [f"{item}!" if shown else None for item, shown in zip(ids, pictured, strict=True)],
            }
        )
        self.items = conform(items, ITEMS.columns).sort("item_index")
        pictures = [
            {"image_id": f"{item}!", "image": {"bytes": render(item, "shoe", 0, 16), "path": None}}
            for item, shown in zip(ids, pictured, strict=True)
            if shown
        ]
        tables.write(pl.DataFrame(pictures), folder / "images-00000.parquet", IMAGES)
        self.view = Catalogue(self.items, frozenset({"office_products"}), (folder / "images-00000.parquet",))
        self.context = Context(0, folder, truth=folder / "truth")
        self.folder = folder

    def example(self, user: int, items: list[int], **more: object) -> dict[str, object]:
        world = self.truth.world
        name = self.truth.customers.user_ids[user]
        history = [{"item_id": world.item_ids[i], "rating": 4.0, "explanation": None} for i in items]
        return {
            "example_id": f"{name}:{len(items):06d}",
            "user_id": name,
            "cohort": "in_domain",
            "history": history,
            **more,
        }

    def ask(self, runner: Runner, task: str, rows: list[dict[str, object]]) -> list[pl.DataFrame | ScoreBlock]:
        frame = conform(pl.DataFrame(rows, schema_overrides={"history": EXAMPLES.columns["history"]}), EXAMPLES.columns)
        return list(runner.predict(task, frame, self.view, self.context))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("oracle"))


def scores(answer: ScoreBlock | pl.DataFrame) -> np.ndarray:
    assert isinstance(answer, ScoreBlock)
    return answer.scores


@pytest.mark.parametrize("runner", [Oracle(), OracleHistory()])
def test_they_are_runners_for_every_task(runner: Runner) -> None:
    assert isinstance(runner, Runner)
    assert runner.tasks == set(TASKS)
    assert runner.reads_truth


def test_without_a_truth_there_is_no_oracle(shop: Shop) -> None:
    context = Context(0, shop.folder)
    with pytest.raises(ConfigError, match="needs the truth"):
        next(iter(Oracle().predict("recommendation", pl.DataFrame(), shop.view, context)))


def test_the_oracle_ranks_by_the_true_chances(shop: Shop) -> None:
    world, user = shop.truth.world, 3
    (answer,) = shop.ask(Oracle(), "recommendation", [shop.example(user, [0, 9])])
    found = dict(zip(shop.items["item_id"], scores(answer)[0], strict=True))
    weights = world.weights[shop.truth.customers.types[user]].copy().reshape(-1)
    weights[[0, 9]] = 0
    each = weights.reshape(world.categories, -1)
    expected = (world.transitions[9 // world.each][:, None] * each / each.sum(axis=1, keepdims=True)).ravel()
    np.testing.assert_allclose([found[item] for item in world.item_ids], expected, rtol=1e-5, atol=1e-12)
    assert found["B0STRANGER"] == 0


def test_a_held_out_domains_user_is_the_person(shop: Shop) -> None:
    one = shop.example(3, [90])
    other = {**one, "user_id": f"{one['user_id']}@office_products", "cohort": "new_domain"}
    (a,), (b,) = (shop.ask(Oracle(), "recommendation", [row]) for row in (one, other))
    np.testing.assert_array_equal(scores(a), scores(b))


def test_history_alone_decides_for_the_second_oracle(shop: Shop) -> None:
    rows = [shop.example(user, [0, 9, 30]) for user in (3, 4)]
    (answer,) = shop.ask(OracleHistory(), "recommendation", rows)
    np.testing.assert_array_equal(scores(answer)[0], scores(answer)[1])
    (other,) = shop.ask(OracleHistory(), "recommendation", [shop.example(3, [1, 9, 30])])
    assert np.abs(scores(other)[0] - scores(answer)[0]).max() > 1e-4


def test_without_order_each_purchase_may_have_been_the_last(shop: Shop) -> None:
    histories = [0, 9, 30], [30, 0, 9], [9], []
    (answer,) = shop.ask(OracleUnordered(), "recommendation", [shop.example(3, list(items)) for items in histories])
    one, turned, short, nothing = scores(answer)
    np.testing.assert_array_equal(one, turned)
    by_last = [shop.ask(Oracle(), "recommendation", [shop.example(3, items)]) for items in ([9], [])]
    np.testing.assert_array_equal([short, nothing], [scores(found)[0] for (found,) in by_last])
    # Of a category that the history lacks all items are open: their chances add up to that of the category.
    world = shop.truth.world
    of_item = dict(zip(shop.items["item_id"], one, strict=True))
    chance = sum(of_item[item] for item in world.item_ids[5 * world.each : 6 * world.each])
    expected = np.mean([world.transitions[item // world.each][5] for item in (0, 9, 30)])
    assert chance == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("style", sorted(QUERY_STYLES))
def test_search_puts_the_items_of_the_query_first(shop: Shop, style: str) -> None:
    world = shop.truth.world
    query = QUERY_STYLES[style](list(world.category_paths[5]))
    (answer,) = shop.ask(Oracle(), "search", [shop.example(3, [0, 9], query=query)])
    best = scores(answer)[0].argsort()[::-1][: world.each]
    items = shop.items["item_id"].to_list()
    assert {items[i] for i in best.tolist()} == set(world.item_ids[5 * world.each : 6 * world.each])


def test_preference_is_the_conditional_mean(shop: Shop) -> None:
    world, customers, user = shop.truth.world, shop.truth.customers, 3
    rows = [
        shop.example(user, [0, 9], target_item_id=world.item_ids[17]),
        shop.example(user, [0], target_item_id="B0STRANGER"),
    ]
    (answer,) = shop.ask(Oracle(), "preference", rows)
    assert isinstance(answer, pl.DataFrame)
    chances = world.ratings(customers.types[user], customers.lenient[user], np.array(17))
    assert answer["rating"].to_list() == pytest.approx([float(chances @ np.arange(1, 6)), 4.0], rel=1e-5)


def test_explanations_speak_of_the_target_in_the_likelier_sign(shop: Shop) -> None:
    world, bank = shop.truth.world, shop.truth.bank
    mean = [
        (world.ratings(shop.truth.customers.types[3], np.array(1), np.array(i)) @ np.arange(1, 6)) for i in range(98)
    ]
    best, worst = int(np.argmax(mean)), int(np.argmin(mean))
    lenient = shop.truth.customers.lenient[3]
    rows = [shop.example(3, [k], target_item_id=world.item_ids[i]) for k, i in enumerate((best, worst), start=40)]
    (answer,) = shop.ask(Oracle(), "explanation", rows)
    assert isinstance(answer, pl.DataFrame)
    for text, item in zip(answer["text"].to_list(), (best, worst), strict=True):
        sign = [int(p) for t, p in zip(bank.texts, bank.positive, strict=True) if t == text]
        assert sign
        praise = world.ratings(shop.truth.customers.types[3], lenient, np.array(item)) @ np.asarray(world.tastes.praise)
        assert sign[0] == (praise > 0.5)


def test_pictures_are_those_of_items_of_the_query(shop: Shop) -> None:
    world = shop.truth.world
    query = QUERY_STYLES["ai2017"](list(world.category_paths[2]))
    rows = [{**shop.example(3, [0, 9], query=query), "example_id": f"e{k:02d}"} for k in range(40)]
    (answer,) = shop.ask(Oracle(), "image_generation", rows)
    assert isinstance(answer, pl.DataFrame)
    members = world.item_ids[2 * world.each : 3 * world.each]
    known = {render(item, "shoe", 0, 16): item for item in members if world.index[item] % 2 == 0}
    drawn = [known[image["bytes"]] for image in answer["image"].to_list()]
    assert 1 < len(set(drawn)) <= len(known)  # a draw, not always the likeliest


def test_selection_finds_what_fits(shop: Shop) -> None:
    world, user = shop.truth.world, 3
    chances = scores(shop.ask(Oracle(), "recommendation", [shop.example(user, [0, 9])])[0])[0]
    order = [shop.items["item_id"][int(i)] for i in np.argsort(-chances)]
    order = [item for item in order if item != "B0STRANGER" and not world.held_out[world.index[item] // world.each]]
    never = [world.item_ids[i] for i in range(len(world.item_ids)) if world.held_out[i // world.each]][:4]
    for runner in (Oracle(), OracleHistory()):
        row = shop.example(user, [0, 9], candidates=[*never[:2], order[0], *never[2:]])
        (answer,) = shop.ask(runner, "selection", [row])
        assert isinstance(answer, pl.DataFrame)
        # The others lie beyond the wall between domains and are impossible.
        assert answer["item_ids"].to_list() == [[order[0]]]
        assert answer["scores"].to_list() == [[pytest.approx(1.0)]]


def test_selection_answers_even_what_nothing_explains(shop: Shop) -> None:
    rows = [
        shop.example(3, [0, 9], candidates=["B0STRANGER", "B0NOBODYXX"]),
        shop.example(4, [], candidates=["B0STRANGER"]),
    ]
    (answer,) = shop.ask(Oracle(), "selection", rows)
    assert isinstance(answer, pl.DataFrame)
    assert set(answer.columns) == set(PREDICTIONS["selection"].columns)
    assert all(set(chosen) <= {"B0STRANGER", "B0NOBODYXX"} and chosen for chosen in answer["item_ids"].to_list())


def test_the_most_f1_by_hand() -> None:
    subsets = np.array([[True, False, False], [True, True, False], [False, False, True]])
    chosen, chance = _most_f1(subsets, np.array([[0.5, 0.3, 0.2], [0.0, 0.1, 0.9]]))
    np.testing.assert_allclose(chance, [[0.8, 0.3, 0.2], [0.1, 0.1, 0.9]])

    def f1(answer: set[int], truth: set[int]) -> float:
        return 2 * len(answer & truth) / (len(answer) + len(truth))

    truth = [{0}, {0, 1}, {2}]
    for row, weights in enumerate(([0.5, 0.3, 0.2], [0.0, 0.1, 0.9])):
        options = [set(c) for n in (1, 2, 3) for c in combinations(range(3), n)]
        best = max(options, key=lambda a: sum(w * f1(a, t) for w, t in zip(weights, truth, strict=True)))
        assert set(np.flatnonzero(chosen[row]).tolist()) == best


@pytest.mark.parametrize("task", ["explanation", "selection"])
def test_answers_do_not_depend_on_the_company(shop: Shop, task: str) -> None:
    world = shop.truth.world
    rng = np.random.default_rng(1)
    drawn = [rng.choice(len(world.item_ids), 8, replace=False).tolist() for _ in range(60)]
    rows = [
        {
            **shop.example(user, items[:3], candidates=[world.item_ids[i] for i in items[3:]]),
            "target_item_id": world.item_ids[items[3]],
            "example_id": f"e{user:02d}",
        }
        for user, items in enumerate(drawn)
    ]
    column = {"explanation": "text", "selection": "item_ids"}[task]
    for runner in (Oracle(), OracleHistory()):
        (whole,) = shop.ask(runner, task, rows)
        assert isinstance(whole, pl.DataFrame)
        alone = pl.concat([part for row in rows for part in shop.ask(runner, task, [row])])  # type: ignore[type-var]
        assert alone[column].to_list() == whole[column].to_list()


def test_rouge_l_is_that_of_the_scorer() -> None:
    texts = list(make_bank().texts[:40:3])
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    theirs = [[scorer.score(a, b)["rougeL"].fmeasure for b in texts] for a in texts]
    np.testing.assert_allclose(rouge_l(texts), theirs, atol=1e-12)


def test_oracle_history_believes_in_the_type_it_sees(shop: Shop) -> None:
    # Whoever buys only what one type likes best is taken for that type.
    world = shop.truth.world
    wanted = 41
    history = [int(c * world.each + world.weights[wanted, c].argmax()) for c in range(12)]
    inference = Inference(replace(shop.truth))
    frame = conform(
        pl.DataFrame([shop.example(3, history)], schema_overrides={"history": EXAMPLES.columns["history"]}),
        EXAMPLES.columns,
    )
    belief = OracleHistory().belief(inference, frame, inference.seen(frame))
    assert belief[0].sum() == pytest.approx(1.0)
    assert belief[0].sum(axis=1).argmax() == wanted
