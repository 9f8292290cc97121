"""SASRec: our route through RecBole, and our cross-entropy at all places, against RecBole's own script; same data.

    python benchmarks/recbole_route.py --data ../shared/data/sequences/beauty --epochs 30
    python benchmarks/recbole_route.py --data demo/data/synthetic-small --epochs 3 --limit-users 500

DIR is a built dataset, or a folder of sequences (`interactions.csv.gz`: user_id, item_id, position), of which each
user's last item is left out as the test's. The item before it is for validation, the rest for training; nothing else is
looked at. Each system runs in a process of its own, which starts from the same rows:

    script      what `recbole.quick_start` does: Config, create_dataset, data_preparation, Trainer.fit, with only the
                lines without which RecBole does not run beside today's NumPy and SciPy
    script-fast the same with PyTorch's search for anomalies off, which an import of RecBole leaves on
    route       the runner `sasrec`: RecBole's model in a warm worker, our feed and batches
    ce          the runner `sasrec_ce`, until it has reached the script's best validation NDCG@10

Settings of the first three are those of the runner `sasrec`: width, layers, dropout, loss, rate, batch. Seconds an
epoch are from the end of the first epoch to the end of the last, with validation and with what is kept on disk.
Validation NDCG@10 is one for all: all items are ranked but those of the history. RecBole's script stops by its own,
which ranks these as well; the figure shown is computed beside it while its clock stands still. "Seconds until" count
from where the process has read this file. `script-fast` trains for three epochs; its seconds until a score are told by
count, as those of as many epochs as the script took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench.runners.protocol import Context, TaskData

SYSTEMS = ("script", "script-fast", "route", "ce")
LEVELS = (0.5, 0.75, 0.9, 1.0)  # shares of the script's best NDCG@10


class Reached(Exception):  # noqa: N818 (no error)
    """The score that was to be reached is."""


@dataclass
class Curve:
    """One line an epoch: the process's seconds at its end, and validation NDCG@10."""

    file: Path
    until: float
    began: float = field(default_factory=time.monotonic)
    stopped: float = 0.0  # seconds that do not count

    def add(self, epoch: int, score: float) -> None:
        seconds = time.monotonic() - self.began - self.stopped
        with self.file.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "seconds": seconds, "ndcg": score}) + "\n")
        print(f"  epoch {epoch:3} {seconds:8.1f} s  valid N@10 {score:.4f}", file=sys.stderr, flush=True)
        if score >= self.until:
            raise Reached

    def points(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@dataclass(frozen=True)
class Told(Context):
    """A run's circumstances, whose learning curve goes to `Curve`."""

    points: Curve | None = None

    def record(self, stage: str, step: int, **values: float) -> None:
        assert self.points is not None
        self.points.add(step, values["valid_ndcg10"])


def prepare(data: Path, users: int | None, out: Path) -> None:
    """Write `rows.parquet` (user_id, item_id, position; train rows and each user's validation row, `valid`)."""
    if (data / "interactions.csv.gz").is_file():
        rows = pl.read_csv(data / "interactions.csv.gz").with_columns(pl.col("user_id", "item_id").cast(pl.String))
        from_end = pl.col("position").rank("ordinal", descending=True).over("user_id")
        rows = rows.with_columns(from_end=from_end).filter(pl.col("from_end") > 1)
        rows = rows.with_columns(valid=pl.col("from_end") == 2)
    else:
        from unimp_bench.dataset import Dataset
        from unimp_bench.fitting import task_data
        from unimp_bench.places import Home

        data = data.resolve()
        given = task_data(Dataset.open(Home(data.parent.parent), data.name), "recommendation", new_domains=False)
        columns = ["user_id", "item_id", "position"]
        train = given.interactions.select(columns).collect().with_columns(valid=False)
        last = train.group_by("user_id").agg(pl.col("position").max() + 1)
        valid = given.valid.select("user_id", "item_ids").collect().unique("user_id", keep="first", maintain_order=True)
        valid = valid.with_columns(item_id=pl.col("item_ids").list.first()).join(last, on="user_id")
        rows = pl.concat([train, valid.select(columns).with_columns(valid=True)])
    rows = rows.select("user_id", "item_id", "position", "valid").sort("user_id", "position")
    # RecBole's script would take a train row for validation where a user has no other.
    rows = rows.filter(pl.col("valid").any().over("user_id") & ((~pl.col("valid")).sum().over("user_id") > 0))
    if users is not None:
        rows = rows.filter(pl.col("user_id").is_in(rows["user_id"].unique(maintain_order=True).head(users).implode()))
    rows.write_parquet(out / "rows.parquet")
    folder = out / "atomic"
    folder.mkdir()
    named = rows.select(
        pl.col("user_id").alias("user_id:token"),
        pl.col("item_id").alias("item_id:token"),
        pl.col("position").cast(pl.Float64).alias("timestamp:float"),
    )
    named.write_csv(folder / "atomic.inter", separator="\t")
    counts = f"{rows['user_id'].n_unique():,} users, {rows['item_id'].n_unique():,} items"
    print(f"{counts}, {(~rows['valid']).sum():,} train rows")


def by_runner(runner: Any, given: argparse.Namespace, curve: Curve) -> float:
    """Fit a runner as `unimp-bench run` does; the peak of another process that worked for it, in MiB."""
    from unimp_bench.dataset import Catalogue

    rows = pl.read_parquet(given.scratch / "rows.parquet")
    train = rows.filter(~pl.col("valid"))
    past = train.group_by("user_id", maintain_order=True).agg(pl.struct("item_id").tail(50).alias("history"))
    valid = rows.filter(pl.col("valid")).select("user_id", pl.concat_list("item_id").alias("item_ids"))
    items = rows.select(pl.col("item_id").unique().sort(), domain=pl.lit("shop"))
    catalogue = Catalogue(items, frozenset(), ())
    asked = valid.join(past, on="user_id").lazy()
    data = TaskData(pl.LazyFrame(), asked, train.drop("valid").lazy(), catalogue)
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        context = Told(given.seed, Path(folder), points=curve)
        with contextlib.suppress(Reached):
            runner.fit({"recommendation": data}, context)
    return context.megabytes_elsewhere * 1e6 / 2**20


def route(given: argparse.Namespace, curve: Curve) -> float:
    """RecBole's model by our route."""
    return by_runner(sasrec(given), given, curve)


def sasrec(given: argparse.Namespace) -> Any:
    """The runner, whose settings RecBole's script is given too."""
    from unimp_baselines.recbole.sasrec import SASRec

    return SASRec(epochs=given.epochs, patience=given.patience, batch=given.batch, loss=given.loss, gpu=given.gpu)


def ce(given: argparse.Namespace, curve: Curve) -> float:
    """Cross-entropy at all places."""
    from unimp_baselines.sasrec_ce import SASRecCE

    return by_runner(SASRecCE(epochs=given.ce_epochs, max_seconds=given.ce_seconds, gpu=given.gpu), given, curve)


def script(given: argparse.Namespace, curve: Curve, *, anomalies: bool = True) -> float:
    """RecBole's own script."""
    from unimp_baselines.recbole import compat

    compat.apply()
    os.chdir(given.scratch)
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_logger, init_seed

    runner = sasrec(given)
    settings = {
        **runner._model({}).settings,
        "data_path": str(given.scratch),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full", "group_by": "user"},
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "epochs": given.epochs,
        "stopping_step": given.patience,
        "seed": given.seed,
        "show_progress": False,
        "state": "WARNING",
        "gpu_id": "0" if given.gpu else "",
    }
    config = Config(model="SASRec", dataset="atomic", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    train, valid, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    torch.autograd.set_detect_anomaly(anomalies)
    print(f"  {len(train._dataset):,} rows an epoch", file=sys.stderr)

    def step(epoch: int, _: float) -> None:
        paused = time.monotonic()
        score = ndcg10(model, valid)
        curve.stopped += time.monotonic() - paused
        curve.add(epoch + 1, score)

    trainer.fit(train, valid, callback_fn=step)
    return 0.0


def script_fast(given: argparse.Namespace, curve: Curve) -> float:
    """RecBole's own script without the search for anomalies."""
    given.epochs = min(given.epochs, 3)
    return script(given, curve, anomalies=False)


def ndcg10(model: Any, batches: Any) -> float:
    """NDCG@10 with all items ranked but those of the history."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for rows, _, _, right in batches:
            rows = rows.to(model.device)  # noqa: PLW2901
            right = right.to(model.device)[:, None]  # noqa: PLW2901
            scores = model.full_sort_predict(rows).view(len(rows), -1)
            wanted = scores.gather(1, right)
            scores.scatter_(1, rows[model.ITEM_SEQ], -torch.inf)
            scores.scatter_(1, right, -torch.inf)
            scores[:, 0] = -torch.inf
            rank = (scores >= wanted).sum(1)
            total += float(torch.where(rank < 10, 1 / torch.log2(rank + 2.0), 0.0).sum())
            count += len(rows)
    return total / count


RUN: dict[str, Callable[[argparse.Namespace, Curve], float]] = {
    "script": script,
    "script-fast": script_fast,
    "route": route,
    "ce": ce,
}


def measured(name: str, until: float, scratch: Path) -> tuple[list[dict[str, float]], float]:
    """Curve and peak MiB of one system in a process of its own."""
    print(f"{name}:", file=sys.stderr, flush=True)
    line = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--measure", name, f"--until={until}"]
    done = subprocess.run([*line, "--scratch", str(scratch)], check=True, stdout=subprocess.PIPE, text=True)
    return Curve(scratch / f"{name}.jsonl", 0.0).points(), float(done.stdout.split()[-1])


def until(points: list[dict[str, float]], score: float) -> float | None:
    """Seconds at the end of the first epoch with that score or a better one."""
    return next((point["seconds"] for point in points if point["ndcg"] >= score), None)


def main() -> None:
    curve_begins = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=30, help="at most, of the three by RecBole's model")
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--loss", choices=["ce", "bpr"], default="ce", help="of RecBole's model")
    parser.add_argument("--ce-epochs", type=int, default=200)
    parser.add_argument("--ce-seconds", type=float, default=0.0, help="of training; 0: no limit")
    parser.add_argument("--limit-users", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="the script is always run")
    parser.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=float("inf"), help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.epochs < 2:
        parser.error("--epochs: at least 2, the first is not counted")
    if given.measure:
        curve = Curve(given.scratch / f"{given.measure}.jsonl", given.until, curve_begins)
        elsewhere = RUN[given.measure](given, curve)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + elsewhere)
        return
    found: dict[str, tuple[list[dict[str, float]], float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        prepare(given.data, given.limit_users, folder)
        for name in SYSTEMS:
            if name in given.only or name == "script":
                goal = max(point["ndcg"] for point in found["script"][0]) if name == "ce" else float("inf")
                found[name] = measured(name, goal, folder)
    show(found)


def show(found: dict[str, tuple[list[dict[str, float]], float]]) -> None:
    """Print seconds an epoch, then seconds until a score is reached; each beside the script's."""

    def each(points: list[dict[str, float]]) -> float | None:
        parts = len(points) - 1
        return (points[-1]["seconds"] - points[0]["seconds"]) / parts if parts else None

    base = each(found["script"][0])
    print("system      | epochs | s an epoch | times the script's | first epoch ends | best valid N@10 | peak MB")
    for name, (points, peak) in found.items():
        mine = each(points)
        seconds = "-" if mine is None else f"{mine:.2f}"
        ratio = "-" if mine is None or base is None else f"{mine / base:.2f}"
        first, best = f"{points[0]['seconds']:.1f} s", max(point["ndcg"] for point in points)
        print(f"{name:<11} | {len(points):6} | {seconds:>10} | {ratio:>18} | {first:>16} | {best:15.4f} | {peak:7,.0f}")
    script = found["script"][0]
    most = max(point["ndcg"] for point in script)
    print("seconds until validation NDCG@10 of")
    for share in LEVELS:
        wanted = share * most
        epochs, theirs = next((point["epoch"], point["seconds"]) for point in script if point["ndcg"] >= wanted)
        told = [f"script {theirs:.1f} s"]
        for name in [name for name in found if name != "script"]:
            points = found[name][0]
            if name == "script-fast":
                mine = points[0]["seconds"] + (epochs - 1) * (each(points) or 0.0)
            else:
                mine = until(points, wanted)
            told.append(f"{name} {'not reached' if mine is None else f'{mine:.1f} s ({theirs / mine:.1f} x)'}")
        print(f"  {wanted:.4f} ({share:.0%} of the script's best): {', '.join(told)}")


if __name__ == "__main__":
    main()
