"""SASRec on leave-last-out sequences: cross-entropy over all positions, against RecBole's augmented rows.

    python benchmarks/sasrec.py ../shared/data/sequences/beauty                       # ours, full, prints a curve
    python benchmarks/sasrec.py ../shared/data/sequences/beauty --seconds 1200        # at most 20 minutes of training
    python benchmarks/sasrec.py ../shared/data/sequences/beauty --route recbole       # RecBole's model by our route

The last item of each user is the test target, the one before it the validation target; all items are ranked, those of
the history are left out, equal scores count against the target. Both routes start from the same feed; RecBole's needs
its worker. Recall@k and NDCG@k are on the test targets, after the epoch that is best on validation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from unimp_baselines import sasrec_net
from unimp_baselines.recbole import client, requests
from unimp_baselines.recbole.feed import Feed, Lists
from unimp_baselines.recbole.sasrec import SASRec


def read(folder: Path) -> tuple[Feed, list[np.ndarray]]:
    """The feed, and each user's whole sequence as item numbers."""
    rows = pl.read_csv(folder / "interactions.csv.gz").sort("user_id", "position")
    items = rows["item_id"].unique().sort()
    rows = rows.with_columns(number=rows["item_id"].replace_strict(items, np.arange(1, len(items) + 1)))
    users = rows.group_by("user_id", maintain_order=True).agg("number")
    users = users.with_columns(train=pl.col("number").list.head(pl.col("number").list.len() - 2))
    whole = [np.array(row, dtype=np.int64) for row in users["number"].to_list()]
    feed = Feed(
        users["user_id"].cast(pl.String),
        items.cast(pl.String),
        Lists.of(users["train"]),
        np.arange(1, len(whole) + 1),
        np.array([row[-2] for row in whole]),
        Lists.of(users["train"]),
        Lists(np.zeros(0, np.int64), np.zeros(len(items) + 1, np.int64)),
    )
    return feed, whole


def measured(scores: torch.Tensor, past: list[np.ndarray], targets: torch.Tensor) -> torch.Tensor:
    """Rank (from 0) of each target."""
    wanted = scores.gather(1, targets[:, None] - 1)
    for row, seen in enumerate(past):
        scores[row, torch.from_numpy(seen) - 1] = -torch.inf
    scores.scatter_(1, targets[:, None] - 1, -torch.inf)
    return (scores >= wanted).sum(1)


def report(ranks: torch.Tensor) -> str:
    """Recall and NDCG at 5 and 10."""
    gain = 1 / torch.log2(ranks + 2.0)
    return "  ".join(
        f"R@{k} {float((ranks < k).float().mean()):.4f}  N@{k} {float((gain * (ranks < k)).mean()):.4f}"
        for k in (5, 10)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--route", choices=["ours", "recbole"], default="ours")
    parser.add_argument("--loss", choices=["ce", "bpr"], default="ce", help="of the route through RecBole")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    feed, whole = read(given.folder)
    past, targets = [row[:-1] for row in whole], torch.tensor([int(row[-1]) for row in whole])
    print(f"{len(feed.users)} users, {len(feed.items)} items, {sum(map(len, whole))} interactions", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        ranks = (ours if given.route == "ours" else through_recbole)(given, feed, past, targets, Path(scratch), began)
    print(f"{given.route}: {time.monotonic() - began:.0f} s in all; test {report(ranks)}")


def ours(given, feed, past, targets, scratch, began) -> torch.Tensor:  # type: ignore[no-untyped-def]
    dropout = 0.3 if given.dropout is None else given.dropout
    torch.manual_seed(given.seed)
    shape = sasrec_net.Shape(len(feed.items), given.width, 2, 2, 4 * given.width, dropout, 50)
    model = sasrec_net.SASRec(shape)
    train = [torch.from_numpy(row[:-1]) for row in past]
    plan = sasrec_net.Plan(
        given.epochs, given.patience, given.batch or 128, 1e-3, 0.0, given.seed, given.seconds, checkpoint_seconds=1e9
    )
    valid = train, torch.from_numpy(feed.valid_targets)

    def step(epoch: int, loss: float, score: float | None) -> None:
        print(
            f"  epoch {epoch:3} {time.monotonic() - began:5.0f} s  loss {loss:.4f}  valid N@10 {score:.4f}", flush=True
        )

    sasrec_net.train(model, train, valid, plan, scratch / "checkpoint", step)
    ranks = []
    for part in torch.arange(len(past)).split(1024):
        some = [past[k] for k in part.tolist()]
        scores = sasrec_net.scores_of(model, [torch.from_numpy(row) for row in some])
        ranks.append(measured(scores, some, targets[part]))
    return torch.cat(ranks)


def through_recbole(given, feed, past, targets, scratch, began) -> torch.Tensor:  # type: ignore[no-untyped-def]
    runner = SASRec(
        embedding=given.width,
        epochs=given.epochs,
        patience=given.patience,
        max_seconds=given.seconds,
        loss=given.loss,
        batch=given.batch or 512,
        dropout=0.5 if given.dropout is None else given.dropout,
    )
    feed.write(scratch)
    model, out = runner._model(), str(scratch / "weights.pt")
    request = requests.Train(
        model, str(scratch / "feed.npz"), "next", 1, given.epochs, given.patience, 1, given.seconds, 0, 0, given.seed,
        str(scratch), out, None, 1e9,
    )  # fmt: skip

    def step(values) -> None:  # type: ignore[no-untyped-def]
        print(f"  {time.monotonic() - began:5.0f} s  {dict(values)}", flush=True)

    print(client.shared().ask(request, scratch / "train.json", step))
    ranks = []
    for part in torch.arange(len(past)).split(1024):
        some = [past[k] for k in part.tolist()]
        lists = Lists(np.concatenate(some), np.cumsum([0] + [len(row) for row in some]))
        np.savez(scratch / "asked.npz", users=part.numpy() + 1, histories=lists.values, starts=lists.starts)
        asked = requests.Score(
            model, request.feed, out, "benchmark", str(scratch / "asked.npz"), str(scratch / "scores.npy"), 256, 0
        )
        client.shared().ask(asked, scratch / "score.json")
        ranks.append(measured(torch.from_numpy(np.load(scratch / "scores.npy")), some, targets[part]))
    return torch.cat(ranks)


if __name__ == "__main__":
    main()
