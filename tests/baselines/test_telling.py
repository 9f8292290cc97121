"""What a training tells while it goes on and when it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unimp_baselines.telling import Step, told
from unimp_bench.runners.protocol import Context


class Heard:
    """Keeps what a progress is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def start(self, name: str, total: int | None, unit: str) -> None:
        self.words.append(f"{name}: {total} {unit}")

    def advance(self, count: int = 1) -> None:
        self.words.append(f"+{count}")

    def finish(self) -> None:
        self.words.append("end")

    def say(self, line: str) -> None:
        self.words.append(line)


@pytest.mark.parametrize(
    ("score", "best", "ending", "point"),
    [
        (0.25, 0.25, "best after 2 with validation NDCG@5 0.2500", {"loss": 1.5, "valid_ndcg5": 0.25}),
        (None, -1.0, "there was no validation", {"loss": 1.5}),
    ],
)
def test_a_training_is_told_from_its_first_epoch_to_its_end(tmp_path, score, best, ending, point):
    def train(step: Step) -> dict[str, Any]:
        step(1, 1.5, score)
        step(2, 1.5, score)
        return {"epoch": 2, "best_epoch": 2, "best": best, "seconds": 3.2}

    heard = Heard()
    context = Context(0, tmp_path, progress=heard, curve=tmp_path / "curve.jsonl")
    assert told(context, "zam", "in_domain", 9, "NDCG@5", train)["seconds"] == 3.2
    assert heard.words == ["zam: in_domain: 9 epochs", "+1", "+1", "end", f"zam: 2 epochs in 3 s; {ending}"]
    points = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [p["step"] for p in points] == [1, 2]
    assert all({k: p[k] for k in point} == point and "valid_ndcg10" not in p for p in points)
