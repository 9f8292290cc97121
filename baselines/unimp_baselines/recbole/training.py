"""Training: RecBole's model, batches, loss and optimizer; our epochs, early stopping and checkpoints.

The best epoch is the one with the highest NDCG@10 on validation rows by RecBole's own full ranking, without the items
that a history shows; that figure decides about stopping and is reported nowhere as a result.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from recbole.data.transform import Equal
from recbole.data.utils import get_dataloader
from recbole.sampler import RepeatableSampler, Sampler
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_trainer, init_seed

from unimp_baselines.learning import is_late
from unimp_baselines.recbole import checkpoints
from unimp_baselines.recbole.checkpoints import Progress
from unimp_baselines.recbole.datasets import AlikeRows, Arrays
from unimp_baselines.recbole.refusals import RefusalError
from unimp_baselines.recbole.requests import Train
from unimp_baselines.recbole.setup import configure, dataset_of, model_class

Say = Callable[[dict[str, Any]], None]
_LEAST = 1e-9  # seconds that are left where none are: one epoch


@dataclass
class Stage:
    """One stage of training: what RecBole needs for an epoch, and how many there may be."""

    name: str
    model: Any
    trainer: Any
    train: Any
    valid: Any | None
    epochs: int
    request: Train

    @property
    def checkpoint(self) -> Path:
        """Where it keeps its checkpoint."""
        return Path(self.request.folder) / f"{self.name}.checkpoint"


def train(request: Train, say: Say) -> dict[str, Any]:
    """Train a model, in two stages if it is pre-trained, and write its best weights.

    Raises:
        RefusalError: the loss is NaN, or the model cannot be trained with this data.
    """
    os.chdir(request.folder)
    # Importing all of RecBole's models turns this on (its sine.py does), and a step then takes half as long again. NaN
    # losses are told by RecBole's trainer itself.
    torch.autograd.set_detect_anomaly(False)
    feed = Arrays.read(Path(request.feed))
    facts: dict[str, Any] = {}
    more: dict[str, Any] = {}
    limit = request.max_seconds
    if request.pretrain_epochs:
        if request.warm_weights and _universal(request):
            path = Path(request.warm_weights)
        else:
            path = Path(request.folder) / "pretrained.pt"
            progress = _run(_stage("pretrain", request, feed, train_stage="pretrain"), say, limit / 2)
            limit = max(limit - progress.seconds, _LEAST) if limit else 0.0
            assert progress.weights is not None
            checkpoints.write(path, {"state_dict": progress.weights["parameters"]})
            facts["pretrain_losses"] = [progress.losses[0], progress.losses[-1]]
        more = {"train_stage": "finetune", "pre_model_path": str(path)}
        facts["pretrained"] = sha256(path.read_bytes()).hexdigest()
    stage = _stage("fit", request, feed, **more)
    if more:
        _check_taken_over(stage.model, Path(more["pre_model_path"]))
    progress = _run(stage, say, limit)
    assert progress.weights is not None
    checkpoints.write(Path(request.out), progress.weights)
    parameters = sum(value.numel() for value in stage.model.parameters() if value.requires_grad)
    return {
        **facts,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "valid_ndcg10": progress.best if math.isfinite(progress.best) else None,
        "parameters": parameters,
        "train_seconds": round(progress.seconds, 3),
        "device": str(stage.trainer.device),
        "batch": int(stage.trainer.config["train_batch_size"]),
    }


def _stage(name: str, request: Train, feed: Arrays, **more: Any) -> Stage:
    config = configure(request.model, feed.items, request.seed, request.folder, **more)
    pretraining = name == "pretrain"
    if request.pretrain_epochs and not _universal(request) and not len(feed.attributes):
        raise RefusalError("no item has a category below the root or a brand, and its pre-training is about these")
    if pretraining:
        config["train_batch_size"] = request.pretrain_batch
        config["train_neg_sample_args"] = {"distribution": "none", "sample_num": "none"}
    init_seed(request.seed, True)
    rows = "whole" if pretraining and not _universal(request) else request.rows
    dataset = dataset_of(config, feed, rows, request.copies, request.model.trim, request.model.features)
    valid = dataset.valid()
    sampler: Any = None
    kinds = ["train", "valid"]
    distribution, alpha = (
        (config["train_neg_sample_args"][key] for key in ("distribution", "alpha"))
        if _samples(config)
        else ("uniform", 1.0)
    )
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        sampler = RepeatableSampler(kinds, dataset, distribution, alpha)
    else:
        try:
            sampler = Sampler(kinds, [dataset, valid], distribution, alpha)
        except ValueError as error:
            raise RefusalError(f"it cannot sample wrong items: {error}") from None
    if len(dataset) == 0:
        raise RefusalError("no user has two train items, so there is nothing to learn an order from")
    train_loader = get_dataloader(config, "train")(config, dataset, sampler.set_phase("train"), shuffle=True)
    if request.model.trim:
        lengths = dataset.windows.lengths
        train_loader.batch_sampler.sampler = AlikeRows(lengths, train_loader.step, train_loader.generator)
    valid_loader = None
    if len(valid) and not pretraining:
        valid_loader = get_dataloader(config, "valid")(config, valid, sampler.set_phase("valid"), shuffle=False)
        valid_loader.transform = Equal(config)  # masks of training mean nothing here and cost time
        if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            valid_loader.collate_fn = _without_seen(valid_loader.collate_fn, dataset.item_id_list_field)
    model = model_class(request.model)(config, dataset).to(config["device"])
    if request.warm_weights and name == "fit" and not more:
        _warm(model, checkpoints.read(Path(request.warm_weights)))
    usual = get_trainer(config["MODEL_TYPE"], config["model"])
    trainer = getattr(model, "trainer", usual)(config, model)
    trainer.eval_collector.data_collect(train_loader)
    if type(trainer).fit is not Trainer.fit and type(trainer).__name__ != "S3RecTrainer":
        raise RefusalError(f"it trains by a loop of its own ({type(trainer).__name__}), which cannot be resumed")
    epochs = request.pretrain_epochs if pretraining else request.epochs
    epochs = 1 if config["MODEL_TYPE"] == ModelType.TRADITIONAL else epochs
    return Stage(name, model, trainer, train_loader, valid_loader, epochs, request)


def _universal(request: Train) -> bool:
    """Whether the model is pre-trained on item features alone, so that the outcome serves every catalogue."""
    return bool(getattr(model_class(request.model), "universal", False))


def _without_seen(collate: Callable[[Any], Any], histories: str) -> Callable[[Any], Any]:
    """Batches of validation that also say which items to leave out; RecBole says so for general models only."""

    def batch(index: Any) -> Any:
        rows, _, users, right = collate(index)
        seen = rows[histories]
        row, place = torch.nonzero((seen != 0) & (seen != right[:, None]), as_tuple=True)
        return rows, (row, seen[row, place]), users, right

    return batch


def _samples(config: Any) -> bool:
    return bool(config["train_neg_sample_args"]["distribution"] != "none")


def _warm(model: Any, weights: dict[str, Any]) -> None:
    """Take over weights of a model of another catalogue, where they do not depend on users and items."""
    mine = model.state_dict()
    tables = {
        n for n, module in model.named_modules() if isinstance(module, torch.nn.Embedding) and "position" not in n
    }
    for name, value in weights["parameters"].items():
        table = name.rpartition(".")[0] in tables or name == "output_bias"
        if not table and name in mine and mine[name].shape == value.shape:
            mine[name].copy_(value)


def _check_taken_over(model: Any, path: Path) -> None:
    """Refuse to fine-tune what is not the pre-trained model."""
    kept = checkpoints.read(path)["state_dict"]
    new: frozenset[str] = getattr(model, "not_pretrained", frozenset())
    for name, value in model.state_dict().items():
        if name in new:
            continue
        if name not in kept or not torch.equal(kept[name], value.cpu()):
            raise RefusalError(f"its pre-trained weights were not loaded ({name} differs)")


def _run(stage: Stage, say: Say, limit: float) -> Progress:
    """Epochs until the last, until validation no longer gets better, or until `limit` seconds; 0: no limit."""
    request = stage.request
    key = _key(stage)
    progress = _resume(stage, key)
    written = time.monotonic()

    def ends(seconds: float) -> bool:
        return is_late(seconds, progress.epoch, limit)

    while not progress.finished:
        started = time.monotonic()
        loss = _epoch(stage, progress.epoch)
        progress.epoch += 1
        progress.losses = [*progress.losses[:1], loss]
        last = progress.epoch >= stage.epochs
        step: dict[str, Any] = {"stage": stage.name, "epoch": progress.epoch, "of": stage.epochs, "loss": loss}
        if stage.valid is None:
            progress.best_epoch = progress.epoch
            if last:
                progress.weights = checkpoints.learned(stage.model)
        elif last or progress.epoch % request.eval_every == 0 or ends(progress.seconds + time.monotonic() - started):
            score = _validated(stage, progress.epoch)
            step["valid_ndcg10"] = score
            progress.waited += 1
            if score > progress.best:
                progress.best, progress.best_epoch, progress.waited = score, progress.epoch, 0
                progress.weights = checkpoints.learned(stage.model)
        progress.seconds += time.monotonic() - started
        progress.finished = last or ends(progress.seconds) or progress.waited > request.patience
        if progress.finished and progress.weights is None:
            progress.weights = checkpoints.learned(stage.model)
        if progress.finished or time.monotonic() - written >= request.checkpoint_seconds:
            _keep(stage, key, progress)
            written = time.monotonic()
        say(step)
    return progress


def _validated(stage: Stage, epoch: int) -> float:
    """NDCG@10 on validation rows; a model with a method `tune` sets by it what its losses do not teach.

    Raises:
        RefusalError: it is no number.
    """

    def score() -> float:
        return float(stage.trainer._valid_epoch(stage.valid)[0])

    tune = getattr(stage.model, "tune", None)
    reached = float(tune(score)) if tune else score()
    if not math.isfinite(reached):
        raise RefusalError(f"validation gives {reached} in epoch {epoch}; set a lower lr")
    return reached


def _epoch(stage: Stage, number: int) -> float:
    """Mean loss of a batch."""
    try:
        total = stage.trainer._train_epoch(stage.train, number)
    except ValueError as error:
        if "nan" not in str(error).lower():
            raise
        raise RefusalError(f"the loss is NaN in epoch {number + 1}; set a lower lr") from None
    loss = float(sum(total) if isinstance(total, tuple) else total) / max(1, len(stage.train))
    if not math.isfinite(loss):
        raise RefusalError(f"the loss is {loss} in epoch {number + 1}; set a lower lr")
    return loss


def _key(stage: Stage) -> str:
    """Names what is trained: a checkpoint of anything else is not taken up."""
    request = stage.request
    model = replace(request.model, features={name: _sum(path) for name, path in request.model.features.items()})
    warm = _sum(request.warm_weights) if request.warm_weights else None
    named = replace(request, model=model, feed=_sum(request.feed), warm_weights=warm)
    asked = asdict(replace(named, folder="", out="", checkpoint_seconds=0.0))
    return sha256(json.dumps([stage.name, asked], sort_keys=True).encode()).hexdigest()


def _sum(path: str) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def _optimizers(trainer: Any) -> list[Any]:
    """The trainer's optimizer, and those of an adversary that it trains beside."""
    return [trainer.optimizer, *getattr(trainer, "other_optimizers", ())]


def _keep(stage: Stage, key: str, progress: Progress) -> None:
    checkpoints.write(
        stage.checkpoint,
        {
            "key": key,
            "progress": vars(progress),
            "model": checkpoints.learned(stage.model),
            "optimizers": [optimizer.state_dict() for optimizer in _optimizers(stage.trainer)],
            "random": checkpoints.random_state(stage.train.generator),
        },
    )


def _resume(stage: Stage, key: str) -> Progress:
    """The checkpoint's progress, with model, optimizer and generators as they were; or a beginning."""
    if not stage.checkpoint.is_file():
        return Progress()
    kept = checkpoints.read(stage.checkpoint)
    if kept["key"] != key:
        return Progress()
    checkpoints.restore(stage.model, kept["model"])
    for optimizer, state in zip(_optimizers(stage.trainer), kept["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    checkpoints.set_random_state(kept["random"], stage.train.generator)
    return Progress(**kept["progress"])
