from __future__ import annotations

from unimp_bench.metrics.spec import METRICS, names_of
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.tasks.spec import TASKS


def test_every_task_finds_its_first_metric() -> None:
    for task in TASKS.values():
        assert METRICS[task.metric].answer_kind == task.answer
        assert task.metric in names_of(task.answer)


def test_metrics_are_filed_under_their_names() -> None:
    assert all(name == spec.name for name, spec in METRICS.items())
    assert {spec.answer_kind for spec in METRICS.values()} == set(PREDICTIONS)
    assert [name for name, spec in METRICS.items() if spec.by_cohort] == ["kid"]
    assert {name for name, spec in METRICS.items() if not spec.higher_is_better} == {"rmse", "mae", "kid"}
