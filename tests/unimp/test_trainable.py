from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unimp import learning_shop, training_runs
from unimp import trainable
from unimp.errors import TrainingError
from unimp.recipe import Recipe


def test_parts_of_the_paper_are_pictures_and_rows_and_never_the_body() -> None:
    new = {"resampler", "cross", "content", "rows_in_new", "rows_out_new"}
    assert trainable.parts_of(learning_shop.config(), "multi_task") == new
    everything = trainable.parts_of(learning_shop.config(train_rows="all"), "multi_task")
    assert everything == new | {"rows_in_text", "rows_out_text"}
    assert trainable.parts_of(learning_shop.config(), "multi_task", scratch=True) == new | {"body"}
    assert trainable.parts_of(learning_shop.config(), "efficient") == {"rows_out_new"}
    assert trainable.parts_of(learning_shop.config(train_rows="all"), "efficient") == {"rows_out_new"}


@pytest.mark.parametrize("fusion", ["cross_attention", "none", "pooled", "early", "late"])
def test_every_parameter_of_every_variant_belongs_to_a_part(fusion: str) -> None:
    model = learning_shop.model(fusion=fusion)
    assert len(trainable.choose(model, trainable.PARTS)) == len(list(model.parameters()))


@pytest.mark.parametrize("stage", trainable.STAGES)
@pytest.mark.parametrize("train_rows", ["new", "all"])
def test_one_step_changes_the_chosen_parts_and_nothing_else(tmp_path, stage: str, train_rows: str) -> None:
    model = learning_shop.model(train_rows=train_rows, item_rows="content")
    before = training_runs.weights(model)
    parts = trainable.parts_of(model.config, stage)
    shop = learning_shop.shop()
    words = replace(shop, log=replace(shop.log, queries=("kind 0", "kind 1", "kind 2")))  # that items have, too
    rows = learning_shop.rows(words, tokens=100_000)
    recipe = Recipe(epochs=1, lr=1e-3, warmup=0.0, draws=1)
    training_runs.run(tmp_path, recipe, model, rows=rows, parts=parts, stage=stage)
    changed = set(training_runs.differing(before, training_runs.weights(model)))
    chosen = {name for name, _ in model.named_parameters() if trainable.part_of(name) in parts}
    assert chosen, "nothing was chosen"
    assert changed <= chosen
    # Attention and softmax do not depend on a constant added to all keys, so a key's bias has no gradient.
    assert all("attention" in name and "bias" in name for name in chosen - changed)


def test_rows_of_answers_move_in_both_tables_and_others_stay(tmp_path) -> None:
    model = learning_shop.model()
    before = training_runs.weights(model)
    parts = trainable.parts_of(model.config, "multi_task")
    rows = learning_shop.rows(questions={"recommendation": 0})
    training_runs.run(tmp_path, Recipe(epochs=1, lr=1e-3, warmup=0.0), model, rows=rows, parts=parts)
    vocabulary = rows.writer.vocabulary
    first = vocabulary.item_ids.start - vocabulary.text
    moved = (model.embed.new.weight != before["embed.new.weight"]).any(1)
    assert moved[first:].all()  # every item is in some history
    choices = [k - vocabulary.text for k in vocabulary.choices]
    assert not moved[choices].any()  # never read: no decay may touch them
    assert (model.head.new.weight != before["head.new.weight"]).any(1)[first:].all()


def test_only_matrices_of_gated_blocks_decay() -> None:
    model = learning_shop.model()
    trainable.choose(model, trainable.PARTS)
    names = {id(p): name for name, p in model.named_parameters()}

    def decaying(**kwargs: bool) -> set[str]:
        yes, no = trainable.groups(model, 0.1, **kwargs)
        assert (yes["weight_decay"], no["weight_decay"]) == (0.1, 0.0)
        assert len(yes["params"]) + len(no["params"]) == len(names)
        return {names[id(p)] for p in yes["params"]}

    plain = decaying()
    wanted = ("to_q.weight", "to_kv.weight", "to_out.weight", "feed.1.weight", "feed.3.weight")
    assert plain == {f"blocks.{layer}.{name}" for layer in (0, 1) for name in wanted}
    more = decaying(decay_body=True) - plain
    assert more
    assert all(name.startswith("body.") and name.endswith("weight") and "norm" not in name for name in more)


def test_nothing_to_train_and_unknown_parts_are_refused() -> None:
    model = learning_shop.model(fusion="none")
    with pytest.raises(TrainingError, match="hold no parameter"):
        trainable.choose(model, frozenset({"resampler"}))
    with pytest.raises(TrainingError, match="no part 'eyes'"):
        trainable.choose(model, frozenset({"eyes"}))
    with pytest.raises(TrainingError, match="no stage 'later'"):
        trainable.parts_of(model.config, "later")


def test_frozen_fingerprint_follows_frozen_values_alone() -> None:
    model = learning_shop.model()
    trainable.choose(model, frozenset({"rows_out_new"}))
    first = trainable.frozen_fingerprint(model)
    model.head.new.weight.data[0, 0] += 1
    assert trainable.frozen_fingerprint(model) == first
    model.embed.text.weight.data[0, 0] += 1
    assert trainable.frozen_fingerprint(model) != first
