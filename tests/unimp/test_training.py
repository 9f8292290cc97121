from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unimp import learning_shop
from tests.unimp.training_runs import KilledError, differing, killed_after, run, weights
from unimp import checkpoint, losses, trainable
from unimp.errors import CheckpointError, TrainingError
from unimp.loading import Loader, Targets, steps_of
from unimp.modeling import Unimp
from unimp.recipe import Recipe, passes

SHORT = Recipe(epochs=2, lr=1e-2, log_steps=2)


def test_losses_fall_and_every_task_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, dict[str, float]]] = []
    shares: list[float] = []
    _, outcome = run(
        tmp_path,
        replace(SHORT, epochs=6),
        record=lambda stage, step, **values: told.append((stage, step, values)),
        report=lambda progress: shares.append(progress.share),
    )
    first, last = outcome.history[0], outcome.history[-1]
    assert last["loss"] < first["loss"] - 0.5
    kinds = ("recommendation", "search", "preference", "explanation", "selection", "context")
    assert {f"loss_{kind}" for kind in kinds} <= first.keys()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == outcome.steps
    stage, _, values = told[0]
    assert stage == "multi_task"
    assert {"loss", "lr", "gate", "tokens_per_second", "grad_norm"} <= values.keys()
    assert outcome.tokens == sum(epoch["tokens"] for epoch in outcome.history)
    assert outcome.padded >= outcome.tokens
    events = list((tmp_path / "tensorboard").iterdir())
    assert events and all(event.stat().st_size for event in events)


def test_part_of_an_epoch_is_its_first_steps_with_a_rate_that_falls_to_its_end(tmp_path: Path) -> None:
    whole, all_steps = run(tmp_path / "whole", replace(SHORT, epochs=1))
    shares: list[float] = []
    recipe = replace(SHORT, **passes(0.4), checkpoint_steps=1)
    half, outcome = run(tmp_path / "part", recipe, report=lambda progress: shares.append(progress.share))
    assert outcome.steps == math.ceil(0.4 * all_steps.steps) < all_steps.steps
    assert shares[-1] == 1.0
    assert 0 < outcome.tokens < all_steps.tokens
    assert differing(weights(half), weights(whole))
    with pytest.raises(KilledError):
        run(tmp_path / "killed", recipe, report=killed_after(1))
    again, _ = run(tmp_path / "killed", recipe)
    assert differing(weights(again), weights(half)) == []


@pytest.mark.parametrize(("count", "epochs", "part"), [(0.15, 1, 0.15), (1, 1, 1.0), (1.4, 1, 1.0), (2.6, 3, 1.0)])
def test_passes_are_whole_ones_or_a_share_of_one(count: float, epochs: int, part: float) -> None:
    assert passes(count) == {"epochs": epochs, "part": part}


@pytest.mark.parametrize(("epochs", "part"), [(2, 0.5), (1, 0.0), (1, 1.5)])
def test_a_part_that_is_no_share_of_one_epoch_is_refused(epochs: int, part: float) -> None:
    with pytest.raises(TrainingError, match="share of a single one"):
        Recipe(epochs=epochs, part=part)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_run_that_is_stopped_and_goes_on_equals_one_that_is_not(tmp_path: Path, steps: int) -> None:
    recipe = replace(SHORT, checkpoint_steps=2, accumulate=2)

    def validate(model: object) -> dict[str, float]:
        return {"score": float(next(model.parameters()).abs().sum())}  # type: ignore[attr-defined]

    kwargs = {"validate": validate, "select": "score"}
    whole, straight = run(tmp_path / "whole", recipe, **kwargs)
    with pytest.raises(KilledError):
        run(tmp_path / "parts", recipe, report=killed_after(steps), **kwargs)
    again, resumed = run(tmp_path / "parts", recipe, **kwargs)
    assert straight.steps > 9
    assert differing(weights(whole), weights(again)) == []
    assert resumed.history == straight.history
    assert (resumed.steps, resumed.best_epoch) == (straight.steps, straight.best_epoch)
    finished, more = run(tmp_path / "parts", recipe, **kwargs)  # nothing is left to do
    assert more.steps == straight.steps
    assert differing(weights(whole), weights(finished)) == []


def test_dropout_goes_on_from_the_same_random_state(tmp_path: Path) -> None:
    def model(seed: int) -> Unimp:
        made = learning_shop.model()
        for layer in made.layers:
            layer.post_mlp_dropout.p = 0.3
        torch.manual_seed(seed)
        return made

    recipe = replace(SHORT, epochs=1, checkpoint_steps=1)
    whole, _ = run(tmp_path / "whole", recipe, model(1))
    other, _ = run(tmp_path / "other", recipe, model(2))
    assert differing(weights(whole), weights(other))  # dropout is on
    with pytest.raises(KilledError):
        run(tmp_path / "parts", recipe, model(1), report=killed_after(3))
    again, _ = run(tmp_path / "parts", recipe, model(99))
    assert differing(weights(whole), weights(again)) == []


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, replace(SHORT, epochs=1))
    with pytest.raises(CheckpointError, match="differs in recipe; remove it"):
        run(tmp_path, replace(SHORT, epochs=1, lr=1e-3))
    with pytest.raises(CheckpointError, match="differs in frozen, trained"):
        run(tmp_path, replace(SHORT, epochs=1), parts=frozenset({"rows_out_new"}))
    with pytest.raises(CheckpointError, match="differs in rows"):
        run(tmp_path, replace(SHORT, epochs=1), rows=learning_shop.rows(learning_shop.shop(users=5)))


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Three batches of unequal size in one step have the gradient of all their rows together, divided once."""
    rows = learning_shop.rows(tokens=400)
    step = steps_of(rows, 0, 0, 1, 3)[0]
    assert len(step) == 3
    recipe = Recipe(epochs=1, lr=1e-3, accumulate=3, clip=0.0, gamma=2.0)
    loader = Loader(rows, 0, learning_shop.HAS_PICTURE, learning_shop.patches)
    for norm in losses.NORMS:
        model = learning_shop.model()
        trainable.choose(model, trainable.PARTS)
        numbers = [number for _, batch in step for number in batch]
        together = loader.load(0, numbers)
        logits, places = model.supervised(together.batch, together.patches)
        assert torch.equal(places, together.targets.places)
        each = losses.focal(logits, together.targets.labels, 2.0)
        expected = losses.combine(each, together.targets.weights, together.targets.answers, norm)
        expected_gradient = torch.autograd.grad(expected, model.head.new.weight)[0].norm()
        told: list[tuple[float, float]] = []

        def record(stage: str, number: int, told: list[tuple[float, float]] = told, **values: float) -> None:
            if "grad_norm" in values:
                told.append((values["loss"], values["grad_norm"]))

        kwargs = {"rows": rows, "record": record, "parts": frozenset({"rows_out_new"})}
        run(tmp_path / norm, replace(recipe, norm=norm, log_steps=1), **kwargs)
        assert told[0][0] == pytest.approx(expected.item(), rel=1e-5)
        assert told[0][1] == pytest.approx(expected_gradient.item(), rel=1e-4)


def test_amounts_of_the_norms() -> None:
    rows = learning_shop.rows()
    load = Loader(rows, 0, learning_shop.HAS_PICTURE, learning_shop.patches).load(0, [0, 1, 14])
    targets = load.targets
    assert targets.amount("tokens") == len(targets.labels) == int((load.batch.labels != -100).sum())
    assert targets.amount("weights") == pytest.approx(float(targets.weights.sum()))
    written = [row for number in (0, 1, 14) for row in rows.row(number, 0)]
    # In the trunk every name and every rating is an answer of one id; each branch has one answer.
    context = sum(
        label != -100 and not segment
        for row in written
        for label, segment in zip(row.labels, row.segments, strict=True)
    )
    assert targets.amount("answers") == context + sum(row.branches for row in written)


def test_the_rate_warms_up_and_falls_once_whatever_the_number_of_steps() -> None:
    recipe = Recipe(lr=2.0, warmup=0.1)
    assert recipe.rate(0.05) == pytest.approx(1.0)
    assert recipe.rate(0.1) == pytest.approx(2.0)
    assert recipe.rate(0.55) == pytest.approx(1.0)
    assert recipe.rate(1.0) == pytest.approx(0.0, abs=1e-12)
    assert replace(recipe, schedule="constant").rate(0.9) == 2.0


def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: object) -> dict[str, float]:
        assert not torch.is_grad_enabled()
        assert not model.training  # type: ignore[attr-defined]
        seen.append(weights(model))  # type: ignore[arg-type]
        return {"rmse": [3.0, 1.0, 2.0, 2.0, 0.0][len(seen) - 1]}

    recipe = replace(SHORT, epochs=5, patience=2)
    model, outcome = run(tmp_path, recipe, validate=validate, select="rmse", higher=False)
    assert len(seen) == 4  # two epochs without a better score
    assert (outcome.best_epoch, outcome.best) == (1, 1.0)
    assert differing(weights(model), seen[1]) == []
    assert [epoch["rmse"] for epoch in outcome.history] == [3.0, 1.0, 2.0, 2.0]
    with pytest.raises(TrainingError, match="gives no 'ndcg' to select by; it gives rmse"):
        run(tmp_path / "other", recipe, validate=lambda _: {"rmse": 1.0}, select="ndcg")


def test_a_loss_that_is_no_number_stops_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    calls: list[int] = []

    def patches(pictures: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        found = learning_shop.patches(pictures)
        return found * math.nan if len(calls) == 4 else found

    recipe = replace(SHORT, checkpoint_steps=1, ahead=0)
    with pytest.raises(TrainingError, match=r"loss nan in stage multi_task, epoch 0, step 3, rows \d+") as caught:
        run(tmp_path, recipe, patches=patches)
    assert "\n" not in str(caught.value)
    tensors, state = checkpoint.load(tmp_path)
    assert state["state"]["steps"] == 3
    assert all(bool(t.isfinite().all()) for name, t in tensors.items() if name.startswith("model."))


def test_an_update_that_spoils_the_weights_is_neither_kept_nor_chosen(tmp_path: Path) -> None:
    judged: list[int] = []

    def validate(_: Unimp) -> dict[str, float]:
        judged.append(1)
        return {"mean": 1.0}

    model, before = learning_shop.model(), weights(learning_shop.model())
    recipe = Recipe(epochs=1, lr=1e38, warmup=0.0, schedule="constant", accumulate=1000)  # one update
    with pytest.raises(TrainingError, match=r"no numbers in stage multi_task, .* no checkpoint") as caught:
        run(tmp_path, recipe, model, validate=validate, select="mean")
    assert "\n" not in str(caught.value) and not judged
    assert differing(before, weights(model)) and not list(tmp_path.glob("checkpoint-*"))


def test_an_error_while_batches_are_made_reaches_the_caller(tmp_path: Path) -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise OSError("feature file vanished")

    with pytest.raises(OSError, match="vanished"):
        run(tmp_path, SHORT, patches=broken)


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no rows to learn from"):
        run(tmp_path, SHORT, rows=learning_shop.rows(learning_shop.shop(users=0)))


def test_known_hidden_states_train_output_rows_like_the_plain_loop(tmp_path: Path) -> None:
    parts = frozenset({"rows_out_new"})
    recipe = replace(SHORT, epochs=4, draws=2)
    reads: list[int] = []

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        reads.append(1)
        return learning_shop.patches(pictures)

    plain, slow = run(tmp_path / "plain", recipe, parts=parts, stage="efficient", patches=counted)
    every = len(reads)
    reads.clear()
    again = replace(recipe, cached_hidden=True)
    cached, fast = run(tmp_path / "cached", again, parts=parts, stage="efficient", patches=counted)
    assert differing(weights(plain), weights(cached)) == []
    assert [e["loss"] for e in fast.history] == [e["loss"] for e in slow.history]
    assert len(reads) * 2 <= every + 1  # two of four epochs read nothing
    with pytest.raises(TrainingError, match="output rows alone"):
        run(tmp_path / "all", again)
    with pytest.raises(TrainingError, match="rows that come again"):
        Recipe(cached_hidden=True)


def test_known_hidden_states_are_those_of_a_body_that_drops_nothing(tmp_path: Path) -> None:
    dropping = learning_shop.model()
    for layer in dropping.layers:
        layer.post_mlp_dropout.p = 0.3
    recipe, only = replace(SHORT, epochs=2, draws=1, cached_hidden=True), frozenset({"rows_out_new"})
    learned, _ = run(tmp_path / "dropping", recipe, dropping, parts=only, stage="efficient")
    plain, _ = run(tmp_path / "plain", recipe, parts=only, stage="efficient")
    assert differing(weights(learned), weights(plain)) == []


def test_recomputed_activations_change_nothing(tmp_path: Path) -> None:
    plain, _ = run(tmp_path / "plain", replace(SHORT, epochs=1))
    less, _ = run(tmp_path / "less", replace(SHORT, epochs=1, checkpointing=True))
    assert less.is_activation_checkpointing
    assert differing(weights(plain), weights(less)) == []


def test_a_shop_without_pictures_trains(tmp_path: Path) -> None:
    none = np.zeros(learning_shop.ITEMS, dtype=bool)
    _, outcome = run(tmp_path, SHORT, has_picture=none, patches=lambda _: None)
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_targets_side_by_side_are_one_answer() -> None:
    rows = learning_shop.rows(questions={"selection": 1})
    load = Loader(rows, 0, learning_shop.HAS_PICTURE, learning_shop.patches).load(0, [2])
    vocabulary = rows.writer.vocabulary
    chosen = [k for k in range(len(load.targets.labels)) if int(load.targets.labels[k]) in vocabulary.choices]
    assert len(chosen) == 2
    assert len(set(load.targets.answers[chosen].tolist())) == 1
    assert Targets.of(load.batch).answers.tolist() == load.targets.answers.tolist()
