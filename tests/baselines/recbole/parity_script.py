"""Print the loss of all train rows by our feeding, by RecBole's own, and their number. Argument: a model of RecBole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

name = sys.argv[1]

from unimp_baselines.recbole import compat  # noqa: E402

compat.apply()

import torch  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, init_seed  # noqa: E402

from unimp_baselines.recbole.datasets import Arrays  # noqa: E402
from unimp_baselines.recbole.requests import Model  # noqa: E402
from unimp_baselines.recbole.setup import configure, dataset_of  # noqa: E402

USERS, ITEMS = 30, 12


def sequences() -> list[list[int]]:
    """Item numbers from 1, every item bought by somebody, the last two of each user for valid and test."""
    rng = np.random.default_rng(1)
    return [(rng.permutation(ITEMS)[: rng.integers(5, 9)] + 1).tolist() for _ in range(USERS)]


def theirs() -> tuple[Any, Any, Any]:
    """RecBole's model, train data and configuration from atomic files, by its own leave-last-two-out split."""
    folder = Path("dataset/shop")
    folder.mkdir(parents=True)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [f"u{u}\ti{i}\t{t}" for u, seq in enumerate(sequences()) for t, i in enumerate(seq)]
    (folder / "shop.inter").write_text("\n".join(rows) + "\n")
    sequential = name != "BPR"
    settings: dict[str, Any] = {
        "data_path": str(folder.parent),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_batch_size": 4096,
        "gpu_id": "",
        "shuffle": False,
        **({"train_neg_sample_args": None} if sequential else {}),
    }
    config = Config(model=name, dataset="shop", config_dict=settings)
    init_seed(1, True)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    return get_model(name)(config, train._dataset), train, config


def ours() -> tuple[Any, Any, Any]:
    """The same by our feeding."""
    train = [seq[:-2] for seq in sequences()]
    empty = np.zeros(0, dtype=np.int64)
    starts = np.cumsum([0] + [len(seq) for seq in train])
    flat = np.concatenate(train)
    nothing = {
        "valid_users": empty,
        "valid_targets": empty,
        "valid_histories": empty,
        "valid_starts": np.zeros(1, np.int64),
    }
    none = {"attributes": empty, "attribute_starts": np.zeros(ITEMS + 1, np.int64)}
    np.savez("feed.npz", users=USERS, items=ITEMS, sequences=flat, sequence_starts=starts, **nothing, **none)
    feed = Arrays.read(Path("feed.npz"))
    config = configure(Model(name, False, {}, False, False), ITEMS, 1, ".")
    dataset = dataset_of(config, feed, "next", 1, False)
    return get_model(name)(config, dataset), dataset, config


model, loader, config = theirs()
mine, dataset, _ = ours()
data = loader._dataset
to_theirs = {
    "user_id": torch.tensor([0] + [data.token2id("user_id", f"u{u}") for u in range(USERS)]),
    "item_id": torch.tensor([0] + [data.token2id("item_id", f"i{i}") for i in range(1, ITEMS + 1)]),
}
# The tables of users and items have another order: copy the weights row by row, all others as they are.
state = model.state_dict()
moved = {}
for key, value in state.items():
    table = "user_id" if "user_embedding" in key else "item_id" if "item_embedding" in key else None
    moved[key] = value[to_theirs[table]] if table else value
mine.load_state_dict(moved)
batch = dataset[torch.arange(len(dataset))]
other = next(iter(loader))
if name == "BPR":
    # Sampled items are theirs; rows are brought into their order.
    back = {field: torch.argsort(order) for field, order in to_theirs.items()}
    pairs = {(int(u), int(i)): k for k, (u, i) in enumerate(zip(batch["user_id"], batch["item_id"], strict=True))}
    order = [
        pairs[int(back["user_id"][u]), int(back["item_id"][i])]
        for u, i in zip(other["user_id"], other["item_id"], strict=True)
    ]
    assert sorted(order) == list(range(len(dataset)))
    batch = dataset[torch.tensor(order)]
    batch.interaction["neg_item_id"] = back["item_id"][other["neg_item_id"]]
model.eval()
mine.eval()  # no dropout
with torch.no_grad():
    print(float(mine.calculate_loss(batch)), float(model.calculate_loss(other)), len(dataset))
assert len(other) == len(dataset)
