"""From a request to RecBole's configuration, data and model."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.utils import ModelType, get_model

from unimp_baselines.recbole.datasets import ATTRIBUTE, Arrays, FedPairs, FedSequences
from unimp_baselines.recbole.models import named
from unimp_baselines.recbole.refusals import RefusalError
from unimp_baselines.recbole.requests import Model, Rows

_LOGITS = 1 << 26  # scores of a batch at most: 256 MB, of which training keeps about three
_OURS = frozenset(  # how every system is trained and judged alike, and where
    {"seed", "reproducibility", "dataset", "data_path", "checkpoint_dir", "gpu_id", "show_progress"}
    | {"metrics", "topk", "valid_metric", "metric_decimal_place", "eval_args", "eval_batch_size"}
)
_SUPPORTED = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.SEQUENTIAL)


def model_class(model: Model) -> Any:
    """The class that a request names."""
    return named(model.name) if model.ours else get_model(model.name)


def configure(model: Model, items: int, seed: int, folder: str, **more: Any) -> Config:
    """RecBole's configuration: its defaults, then ours, then the model's settings.

    Raises:
        RefusalError: a setting that neither RecBole nor the model knows, that is not the model's to choose or does not
            fit the others, or a kind of model that needs other data.
    """
    cls = model_class(model)
    if cls.type not in _SUPPORTED:
        raise RefusalError(
            f"it is a {cls.type.name.lower()} model; only general and sequential ones can be fed with our data"
        )
    ours: dict[str, Any] = {"seed": seed, "reproducibility": True, "show_progress": False, "dataset": "fed"}
    top = min(10, items)  # of fewer items the first ten are all there are
    ours |= {"metrics": ["NDCG"], "topk": [top], "valid_metric": f"NDCG@{top}", "metric_decimal_place": 8}
    ours["gpu_id"] = "0" if model.gpu else ""
    if cls.type == ModelType.SEQUENTIAL:
        ours["MAX_ITEM_LIST_LENGTH"] = 50
    ours |= {"item_attribute": ATTRIBUTE} if model.name == "S3Rec" else {}
    if taken := sorted(_OURS & set(model.settings)):
        raise RefusalError(f"setting {', '.join(taken)} is the toolkit's own, the same for every system; leave it out")
    given = {**ours, **model.settings}
    config = _config(cls, given)
    known = set(config.internal_config_dict) | {name for group in config.parameters.values() for name in group}
    for name in model.settings:
        if not model.ours and name not in known:
            near = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"see {model.name}.yaml of RecBole"
            raise RefusalError(f"unknown setting '{name}'; {hint}")
    config["checkpoint_dir"] = folder
    config["eval_batch_size"] = max(1, min(4096, _LOGITS // 4 // (items + 1)))
    if cls.type != ModelType.SEQUENTIAL:
        config["eval_batch_size"] *= items + 1  # counted in pairs there
    config["train_batch_size"] = batch_size(config, items)
    for name, value in more.items():
        config[name] = value  # paths, which must not pass through Config: it evaluates strings
    return config


def _config(cls: Any, given: dict[str, Any]) -> Config:
    """The configuration; without sampled items where the model's loss, by its own default, has none.

    A ValueError is how RecBole says that a model's settings do not go together; anything else is nobody's wrong setting
    and ends the worker.
    """
    try:
        return Config(model=cls, dataset="fed", config_dict=dict(given))
    except ValueError as error:
        if "train_neg_sample_args" not in given and "should be None when the loss_type is CE" in str(error):
            return _config(cls, {**given, "train_neg_sample_args": None})
        raise RefusalError(f"its settings do not fit together: {error}") from error


def batch_size(config: Config, items: int) -> int:
    """Rows of a batch: what was asked, or fewer where the scores of all items would not fit in memory."""
    asked = int(config["train_batch_size"])
    if config["loss_type"] != "CE":
        return asked
    positions = 8 if config["transform"] == "mask_itemseq" else 1  # masked in a row, about
    return max(1, min(asked, _LOGITS // ((items + 1) * positions)))


def dataset_of(
    config: Config, feed: Arrays, rows: Rows, copies: int, trim: bool, features: Mapping[str, str] | None = None
) -> FedPairs | FedSequences:
    """The train rows, with `item_features`: a tensor `(items + 1, width)` of each modality, row 0 being zeros.

    Raises:
        RefusalError: features of other items, or some that are no numbers.
    """
    general = config["MODEL_TYPE"] != ModelType.SEQUENTIAL
    dataset = FedPairs(config, feed) if general else FedSequences(config, feed, rows, copies, trim=trim)
    dataset.item_features = {name: _table(Path(path), feed.items) for name, path in (features or {}).items()}
    return dataset


def _table(path: Path, items: int) -> torch.Tensor:
    """Features by item number; item k stands in row k - 1 of the file."""
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or len(values) != items or not np.isfinite(values).all():
        raise RefusalError(f"{path} has not one row of finite numbers for each of {items} items")
    return torch.from_numpy(np.concatenate([np.zeros_like(values[:1]), values]).astype(np.float32, copy=False))
