"""UniMP through the benchmark: every task and cohort it claims, on the hand-sized shop, learned in seconds."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from PIL import Image

from tests import shop as small
from unimp import keeping
from unimp.options import Options
from unimp.processes import Processes
from unimp.runner import UniMP
from unimp_bench import fitting
from unimp_bench.data import noise
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.execute import run
from unimp_bench.places import Home
from unimp_bench.provenance import read_manifest
from unimp_bench.questions import Wish, ask
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context
from unimp_bench.tasks.spec import TASKS

QUICK = {"effort": "0.02", "epochs": "50"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> object:
    return small.home_at(tmp_path_factory.mktemp("unimp") / "home")


def test_parameters_are_the_options() -> None:
    runner = registry.load("unimp", {"preset": "tiny", "gamma": "0", "vision": "off"})
    assert isinstance(runner, UniMP)
    assert runner.options == Options(gamma=0.0, vision="off")


@pytest.mark.parametrize(
    ("key", "value"), [("gamma", "-1"), ("fusion", "sideways"), ("gama", "2"), ("dropout", "1"), ("dropout", "nan")]
)
def test_values_that_mean_nothing_are_refused_in_one_line(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        registry.load("unimp", {key: value})
    assert "\n" not in str(refused.value)


def test_dropout_is_for_bodies_that_learn_from_nothing() -> None:
    for body in ({"preset": "paper"}, {"text_weights": "some/model"}):
        with pytest.raises(ConfigError, match=r"dropout=0.1 is for bodies that learn from nothing: .*no text_weights$"):
            registry.load("unimp", {"dropout": "0.1", **body})


def test_the_paper_preset_without_weights_says_what_it_needs(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: object) -> None:
        raise AssertionError("a part was made before the refusal")

    monkeypatch.setattr("unimp.parts.make_tokenizer", made)
    with pytest.raises(ConfigError, match="text_weights"):
        run(home, "shop", "recommendation", "unimp", parameters={**QUICK, "preset": "paper", "vision": "off"})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_is_answered_for_every_cohort(home: object, task: str) -> None:
    folder = run(home, "shop", task, "unimp", parameters=QUICK, seed=1)  # type: ignore[arg-type]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.facts["not_applicable"] == []
    answered = pl.read_parquet(folder / "predictions.parquet")
    assert answered.height > 0


@pytest.mark.slow
def test_equal_seeds_give_equal_answers(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        own = small.home_at(tmp_path / name)
        folder = run(own, "shop", "recommendation", "unimp", parameters=QUICK, seed=3)
        found.append(pl.read_parquet(folder / "predictions.parquet"))
    assert found[0].equals(found[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {"vision": "off"},
        {"fusion": "none"},
        {"fusion": "early"},
        {"fusion": "late"},
        {"exclusive": "false"},
        {"overview": "true"},
        {"context_target": "attributes", "pool": "2", "checkpointing": "true"},
        {"context_target": "none", "gamma": "0"},
        {"new_domain": "finetune_embeddings", "history": "2", "earlier": "0"},
        {"strategy": "multi_task+full"},
        {"strategy": "continue"},
        {"item_ids": "semantic"},
        {"new_domain": "zero_shot_content"},
    ],
    ids=lambda variant: "-".join(f"{k}={v}" for k, v in variant.items()),
)
def test_every_ablation_runs(home: object, variant: dict[str, str]) -> None:
    folder = run(home, "shop", "search", "unimp", parameters={**QUICK, **variant}, seed=1)  # type: ignore[arg-type]
    assert (folder / "manifest.json").is_file()


@pytest.mark.slow
def test_semantic_ids_name_items_of_a_held_out_domain_without_learning_there(home: object) -> None:
    parameters = {**QUICK, "item_ids": "semantic", "new_domain": "zero_shot_content", "learn": "recommendation"}
    folder = run(home, "shop", "recommendation", "unimp", parameters=parameters, seed=1)  # type: ignore[arg-type]
    office = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("example_id").str.contains(r"^u2[4-9]"))
    assert office.height == 6
    # Three of the four items were seen, so the one left must be named, and no item of another domain.
    assert all(listed and set(listed) <= set(small.OFFICE) for listed in office["item_ids"].to_list())


@pytest.mark.slow
def test_a_person_is_answered_as_in_runs(home: object) -> None:
    folders = {
        task: run(home, "shop", task, "unimp", parameters=QUICK, seed=1) for task in ("recommendation", "search")
    }  # type: ignore[arg-type]
    reply = ask(home, "shop", "unimp", Wish("u03"), parameters=QUICK, seed=1)  # type: ignore[arg-type]
    for task, folder in folders.items():
        said = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("example_id").str.starts_with("u03:"))
        assert reply.said[task] == said["item_ids"].to_list()[0][:5]
    assert 1 <= reply.said["preference"] <= 5
    assert reply.said["explanation"]
    assert Image.open(BytesIO(reply.said["image_generation"])).size == (64, 64)
    other = ask(home, "shop", "unimp", Wish("u03", query="Office Paper"), parameters=QUICK, seed=1)  # type: ignore[arg-type]
    assert other.said["recommendation"] == reply.said["recommendation"]  # a query is the search's affair


@pytest.mark.slow
def test_joint_answers_rate_and_explain(home: object) -> None:
    parameters = {**QUICK, "joint_answers": "true", "learn": "preference,explanation", "strategy": "multi_task"}
    said = {
        task: pl.read_parquet(run(home, "shop", task, "unimp", parameters=parameters, seed=1) / "predictions.parquet")  # type: ignore[arg-type]
        for task in ("preference", "explanation")
    }
    assert said["preference"]["rating"].is_between(1, 5).all()
    assert said["explanation"]["text"].str.len_chars().min() > 0  # type: ignore[operator]


def test_a_launch_of_several_processes_is_sent_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = classmethod(lambda _: Processes(0, 2))
    monkeypatch.setattr(Processes, "here", two)
    around = Context(0, tmp_path)
    for work in (lambda: UniMP().fit({}, around), lambda: UniMP().adapt({}, around)):
        with pytest.raises(ConfigError, match=r"torchrun -m unimp\.train") as refused:
            work()
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="one process"):
        UniMP().pretrain({}, tmp_path, around)


def test_a_saved_system_of_another_catalogue_is_refused(tmp_path: Path) -> None:
    note = dict.fromkeys(keeping.NOTED) | {"catalogue": "x", "items": 7}
    (tmp_path / "unimp.json").write_text(json.dumps(note))
    runner = UniMP()
    runner.load(tmp_path)
    data = small.home_at(tmp_path / "home")
    view = Dataset.open(data, "shop").catalogue()
    with pytest.raises(ConfigError, match="another catalogue"):
        list(runner.predict("preference", pl.DataFrame(), view, Context(0, tmp_path / "scratch")))
    assert np.isfinite(runner.gamma)


class Heard:
    """Keeps what a progress is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: dict[str, list[str]] = {}

    def say(self, message: str) -> None:
        self.lines.append(message)

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        self.stages[name] = []

    def advance(self, count: int = 1) -> None: ...

    def finish(self) -> None: ...

    def beside(self, words: str) -> None:
        list(self.stages.values())[-1].append(words)


@pytest.fixture(scope="module")
def learned(home: Home, tmp_path_factory: pytest.TempPathFactory) -> tuple[UniMP, Dataset, Heard, Path]:
    """A runner that has learned searches, and where it was saved."""
    data, heard, folder = Dataset.open(home, "shop"), Heard(), tmp_path_factory.mktemp("learned")
    runner = UniMP(effort=0.02, strategy="multi_task")
    runner.fit({"search": fitting.task_data(data, "search", new_domains=False)}, Context(0, folder / "scratch", heard))
    runner.save(folder / "state")
    return runner, data, heard, folder


def test_a_stage_tells_loss_speed_and_end_beside_its_bar(learned: tuple[UniMP, Dataset, Heard, Path]) -> None:
    _, _, heard, _ = learned
    *steps, last = heard.stages["unimp: multi_task"]
    assert steps and all(word in steps[0] for word in ("loss ", " tokens/s", " min left"))
    assert last.endswith(" s")


def test_where_the_losses_of_a_saved_system_are_is_said(learned: tuple[UniMP, Dataset, Heard, Path]) -> None:
    _, _, heard, folder = learned
    assert heard.lines[-1] == f"unimp: losses of every stage: tensorboard --logdir {folder / 'state' / 'tensorboard'}"
    assert (folder / "state" / "tensorboard" / "multi_task").is_dir()


@pytest.mark.parametrize(
    "noisy",
    [
        lambda seen: replace(seen, items=noise.apply(seen.items, "NT", 1.0)),
        lambda seen: replace(seen, items=seen.items.with_columns(pl.lit(None, pl.String).alias("image_id"))),
        lambda seen: replace(seen, text_fields=seen.text_fields[:1]),
    ],
    ids=["no text", "no pictures", "fewer fields"],
)
def test_another_view_is_answered_by_what_was_saved_only(
    learned: tuple[UniMP, Dataset, Heard, Path], tmp_path: Path, noisy: Callable[[Catalogue], Catalogue]
) -> None:
    runner, data, _, folder = learned
    asked, around = data.examples("search", "test").collect(), Context(0, tmp_path)

    def scores(one: UniMP, view: Catalogue) -> np.ndarray:
        return np.concatenate([block.scores for block in one.predict("search", asked, view, around)])

    clean = scores(runner, data.catalogue())  # another object, which shows the same
    other = noisy(data.catalogue())
    with pytest.raises(ConfigError, match="save and load the runner first") as refused:
        scores(runner, other)
    assert "\n" not in str(refused.value)
    assert np.array_equal(scores(runner, data.catalogue()), clean)
    loaded = UniMP(effort=0.02, strategy="multi_task")
    loaded.load(folder / "state")
    assert np.array_equal(scores(loaded, data.catalogue()), clean)
    assert not np.array_equal(scores(loaded, other), clean)
    assert np.array_equal(scores(loaded, data.catalogue()), clean)
