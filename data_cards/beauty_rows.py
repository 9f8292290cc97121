"""Run every row of the published table on `beauty` that is here, and write `beauty.leaderboard.csv`.

    python data_cards/beauty_rows.py --real-data ../shared/data [--home DIR] [--only sasrec_ce hgn]

What it runs are plain `unimp-bench` commands, which it prints; what was built or run before is found, and a killed run
goes on when the same is asked again. A row's training ends after its minutes (`--budget bert4rec=600 s3rec=0`; 0: no
bound), which become part of what was run: other minutes are another run.

    sasrec_ce   cross-entropy over all items at all places; 20 minutes on two cores
    sasrec_bce  one drawn wrong item a place, the published loss
    sasrec      RecBole's, cross-entropy at the last place of every prefix
    gru4rec     RecBole's, cross-entropy over all items of the catalogue
    hgn         RecBole's, three drawn wrong items
    bert4rec    RecBole's
    s3rec       500 epochs of pre-training, which take half of its minutes at most: without a GPU set s3rec=0

S3-Rec is pre-trained on items' attributes, which `beauty` does not have: they are numbers without names. It runs on
`beauty_attributes`, the same interactions and split with those numbers as categories, in a leaderboard of its own;
same users, same targets, same items.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from unimp_bench.budget import Budget
from unimp_bench.dataset import Dataset
from unimp_bench.errors import UnimpBenchError
from unimp_bench.places import Home
from unimp_bench.results import records
from unimp_bench.runners import registry

HERE = Path(__file__).resolve().parent
DATASET, ATTRIBUTES = "beauty", "beauty_attributes"
METRICS = ("hr@5", "ndcg@5", "hr@10", "ndcg@10")  # with one relevant item a user, recall is hr


@dataclass(frozen=True)
class Row:
    """One system with its settings, and what was published of it, in the order of `METRICS`."""

    model: str
    settings: dict[str, str]
    minutes: float
    published: tuple[float | None, ...]
    dataset: str = DATASET

    def budget(self, minutes: float) -> Budget | None:
        """The bound of its training."""
        return Budget(minutes * 60) if minutes else None


# Rajput et al. 2023, table 1; of sasrec_ce a public reproduction's log, file order, seen items masked; of sasrec what
# users of RecBole report.
ROWS = {
    "sasrec_ce": Row("sasrec_ce", {}, 20, (None, None, 0.0897, 0.0539)),
    "sasrec_bce": Row("sasrec_bce", {}, 30, (0.0387, 0.0249, 0.0605, 0.0318)),
    "sasrec": Row("sasrec", {}, 180, (None, None, 0.0848, 0.0432)),
    "gru4rec": Row("gru4rec", {}, 180, (0.0164, 0.0099, 0.0283, 0.0137)),
    "hgn": Row("hgn", {"patience": "10"}, 180, (0.0325, 0.0206, 0.0512, 0.0266)),
    "bert4rec": Row("bert4rec", {}, 180, (0.0203, 0.0124, 0.0347, 0.0170)),
    "s3rec": Row("s3rec", {"pretrain_epochs": "500"}, 180, (0.0387, 0.0244, 0.0647, 0.0327), ATTRIBUTES),
}


def command(home: Path, *words: str) -> bool:
    """Run `unimp-bench` with these words; whether it ended well."""
    line = [str(Path(sys.executable).with_name("unimp-bench")), "--home", str(home), *words]
    print("$", *line, flush=True)
    return subprocess.run(line, check=False).returncode == 0  # noqa: S603 (our own command)


def is_built(home: Path, name: str) -> bool:
    """Whether the dataset is there and whole."""
    try:
        Dataset.open(Home(home), name)
    except UnimpBenchError:
        return False
    return True


def built(home: Path, name: str, raw: Path | None) -> bool:
    """Build a dataset unless it is there."""
    if is_built(home, name):
        return True
    if raw is None:
        print(f"{home / 'data' / name} is not there; give --real-data to build it")
        return False
    folder = raw / "sequences" / DATASET
    items = folder / "items.csv.gz"
    more = []
    if name == ATTRIBUTES:
        items, more = with_attributes(items, Home(home).raw(name)), ["--lean"]
    words = ["build", "files", "--name", name, "--interactions", str(folder / "interactions.csv.gz")]
    return command(home, *words, "--items", str(items), "--protocol", "leave_last_out", *more)


def with_attributes(items: Path, folder: Path) -> Path:
    """The items with their attribute numbers as categories below a root."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = pl.col("attribute_ids").cast(pl.String).fill_null("").str.extract_all(r"\S+")
    root = pl.lit("Beauty").repeat_by(1)
    kept = pl.read_csv(items).select("item_id", "title", categories=pl.concat_list(root, numbers))
    kept.write_ndjson(folder / "items.jsonl")
    return folder / "items.jsonl"


def run(home: Path, row: Row, minutes: float) -> bool:
    """Run one row."""
    words = ["run", "--model", row.model, "--task", "recommendation", "--dataset", row.dataset]
    for name, value in row.settings.items():
        words += ["--set", f"{name}={value}"]
    bound = row.budget(minutes)
    return command(home, *words, *([] if bound is None else ["--budget", str(bound)]))


def found(board: pl.DataFrame, row: Row, minutes: float) -> dict[str, float]:
    """The newest values of a row by metric, in the leaderboard."""
    bound = row.budget(minutes)
    wanted = registry.resolved(registry.load(row.model, row.settings))
    wanted |= {} if bound is None else {"budget": str(bound)}
    values: dict[str, float] = {}
    kept = board.filter(runner=row.model, cohort="in_domain", task="recommendation", variant="clean").sort("date")
    for line in kept.iter_rows(named=True):
        if json.loads(line["parameters"]) == wanted:
            values[line["metric"]] = line["value"]
    return values


def show(boards: dict[str, pl.DataFrame], minutes: dict[str, float]) -> None:
    """Print the rows beside what was published."""
    print(f"\n{'row':<12}" + "".join(f"{name:>28}" for name in METRICS) + "   here / published (ratio)")
    for name, row in ROWS.items():
        values = found(boards[row.dataset], row, minutes[name]) if row.dataset in boards else {}
        cells = []
        for metric, published in zip(METRICS, row.published, strict=True):
            here = values.get(metric)
            ratio = f" ({here / published:.2f})" if here is not None and published else ""
            told = ["-" if value is None else f"{value:.4f}" for value in (here, published)]
            cells.append(f"{told[0]} / {told[1]}{ratio}")
        print(f"{name:<12}" + "".join(f"{cell:>28}" for cell in cells))


def main() -> None:
    """Build, run, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real-data", type=Path, metavar="DIR", help="holds sequences/beauty; to build the dataset")
    parser.add_argument("--home", type=Path, default=Path())
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--budget", nargs="+", default=[], metavar="ROW=MINUTES", help="0: no bound; MINUTES alone: of all rows"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the CSV files")
    given = parser.parse_args()
    minutes = {name: row.minutes for name, row in ROWS.items()}
    for word in given.budget:
        name, _, amount = word.rpartition("=")
        if (name and name not in ROWS) or not amount.replace(".", "", 1).isdigit():
            parser.error(f"--budget {word}: write ROW=MINUTES with one of {', '.join(ROWS)}, or MINUTES")
        minutes |= dict.fromkeys([name] if name else ROWS, float(amount))
    failed = []
    for name in given.only:
        row = ROWS[name]
        if not (built(given.home, row.dataset, given.real_data) and run(given.home, row, minutes[name])):
            failed.append(name)
    boards = {}
    for name in (DATASET, ATTRIBUTES):
        file = given.out / f"{name}.leaderboard.csv"
        words = ["leaderboard", "--dataset", name, "--csv", str(file)]
        if records(Home(given.home), name) and command(given.home, *words):
            boards[name] = pl.read_csv(file, infer_schema_length=None)
    show(boards, minutes)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the same command again goes on where they were")


if __name__ == "__main__":
    main()
