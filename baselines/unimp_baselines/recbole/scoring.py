"""Scores of all items for some histories, by a model that was trained before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, init_seed

from unimp_baselines.recbole import checkpoints
from unimp_baselines.recbole.datasets import Arrays, Windows
from unimp_baselines.recbole.requests import Model, Score
from unimp_baselines.recbole.setup import configure, dataset_of, model_class


class Scorer:
    """Scores with the model that it loaded last, which many requests share."""

    def __init__(self) -> None:
        self._key: tuple[str, str, Model] | None = None
        self._model: Any = None
        self._config: Any = None
        self._items = 0

    def score(self, request: Score) -> dict[str, Any]:
        """Write the scores `(rows, items)` of the request's rows."""
        os.chdir(Path(request.out).parent)
        self._load(request)
        init_seed(request.seed, True)  # some models sample while they predict
        with np.load(request.asked) as asked:
            users, histories, starts = (torch.from_numpy(asked[name]) for name in ("users", "histories", "starts"))
        windows = Windows(histories, starts[:-1], starts.diff())
        found: list[NDArray[np.float32]] = []
        for first in range(0, len(users), request.rows):
            here = torch.arange(first, min(first + request.rows, len(users)))
            with torch.no_grad():
                scores = self._all_items(self._batch(users, windows, here, request.rows))
            found.append(scores[: len(here), 1 : self._items + 1].float().cpu().numpy())
        np.save(request.out, np.concatenate(found))
        return {"rows": len(users)}

    def _load(self, request: Score) -> None:
        # Of equal weights too, models differ by their feed: ItemKNN or EASE keep nothing else.
        key = (request.digest, request.feed, request.model)
        if key == self._key:
            return
        self._key = self._model = None  # two models need not be in memory at once
        feed = Arrays.read(Path(request.feed))
        config = configure(request.model, feed.items, request.seed, str(Path(request.out).parent))
        init_seed(request.seed, True)
        construct_transform(config)  # puts names into the configuration that BERT4Rec looks up
        dataset = dataset_of(config, feed, "next", 1, False, request.model.features)
        model = model_class(request.model)(config, dataset).to(config["device"])
        checkpoints.restore(model, checkpoints.read(Path(request.weights)))
        model.eval()
        self._key, self._model, self._config, self._items = key, model, config, feed.items

    def _batch(self, users: torch.Tensor, windows: Windows, here: torch.Tensor, rows: int) -> Interaction:
        """A batch of exactly `rows` rows, the last one repeated where there are fewer."""
        config = self._config
        padded = torch.cat([here, here[-1:].expand(rows - len(here))])
        fields = {config["USER_ID_FIELD"]: users[padded]}
        if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            most = config["MAX_ITEM_LIST_LENGTH"]
            fields[config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]] = windows.last(most).of(padded, most)
            fields[config["ITEM_LIST_LENGTH_FIELD"]] = windows.lengths[padded].clamp(max=most)
        return Interaction(fields).to(config["device"])

    def _all_items(self, batch: Interaction) -> torch.Tensor:
        """Scores `(rows, items + 1)`, pair by pair where the model can do no better."""
        rows, items = len(batch), self._items + 1
        if type(self._model).full_sort_predict is not AbstractRecommender.full_sort_predict:
            scores = self._model.full_sort_predict(batch)
        else:  # it scores pairs only
            pairs = batch.repeat_interleave(items)
            every = torch.arange(items, device=self._config["device"]).repeat(rows)
            pairs.update(Interaction({self._config["ITEM_ID_FIELD"]: every}))
            scores = self._model.predict(pairs)
        result: torch.Tensor = scores.reshape(rows, -1)
        return result
