"""Similarities in the space of a CLIP model (Radford et al. 2021; the text form is CLIPScore's, Hessel et al. 2021).

- clip_text_image = cosine of the query's text and the generated picture
- clip_image_image = cosine of the target's picture and the generated one

The model comes from a local folder in the transformers format (`Models.clip`, see `hub`); nothing is downloaded here
and no code of a model is run. Which one it is decides the numbers, so compare only runs that were scored with the same.
Unanswered counts as a plain grey picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import hub
from unimp_bench.descriptor import decode
from unimp_bench.errors import IncompleteError
from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores
from unimp_bench.metrics.pictures import grey, opened

_BATCH = 32


def lacks(context: MetricContext) -> str | None:
    """Why CLIP's picture similarity cannot be computed."""
    folder = context.models.clip
    if folder is None:
        return context.models.why.get("clip", "needs a CLIP model in models/clip of the home folder")
    if not (folder / "config.json").is_file():
        return f"needs a CLIP model in the transformers format; {folder.name} has no config.json"
    if find_spec("transformers") is None or find_spec("torch") is None:
        return "needs the packages transformers and torch, which are not installed"
    if reason := hub.unusable(folder):
        return f"needs a CLIP model that can be read; {folder.name} {reason}"
    return "needs the catalogue" if context.view is None else None


def lacks_queries(context: MetricContext) -> str | None:
    """Why CLIP's text similarity cannot be computed."""
    known = context.examples is not None and context.examples["query"].null_count() == 0
    return lacks(context) or (None if known else "needs a query for each example")


class _Clip:
    """The model's two towers; embeddings have length 1."""

    def __init__(self, folder: str) -> None:
        transformers = import_module("transformers")
        self._model = transformers.CLIPModel.from_pretrained(folder, local_files_only=True).eval()
        self._processor = transformers.CLIPProcessor.from_pretrained(folder, local_files_only=True)

    def _embedded(self, things: Sequence[Any], tower: Callable[..., Any], name: str, **options: Any) -> Values:
        torch = import_module("torch")
        rows = []
        for start in range(0, len(things), _BATCH):
            ready = self._processor(**{name: list(things[start : start + _BATCH])}, return_tensors="pt", **options)
            with torch.inference_mode():
                found = tower(**ready)
            vectors = getattr(found, "pooler_output", found).double().numpy()
            rows.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return np.concatenate(rows) if rows else np.empty((0, 1))

    def texts(self, texts: Sequence[str]) -> Values:
        """Embeddings `(n, width)`."""
        return self._embedded(texts, self._model.get_text_features, "text", padding=True, truncation=True)

    def pictures(self, pictures: Sequence[Any]) -> Values:
        """Embeddings `(n, width)` of RGB pictures."""
        return self._embedded(pictures, self._model.get_image_features, "images")


def _distinct(values: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The different values, and which of them each value is."""
    place: dict[Any, int] = {}
    rows = [place.setdefault(value, len(place)) for value in values]
    return list(place), rows


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `clip_text_image` and `clip_image_image`, as a frame of `schemas.SCORES`.

    Raises:
        PredictionError: an answer is no picture.
        IncompleteError: a target has no picture.
    """
    assert context.view is not None and context.models.clip is not None, "see `lacks`"
    pairs = paired(answers, predictions, "image")
    clip = _Clip(str(context.models.clip))
    said, row = _distinct(pairs["prediction"].to_list())  # some systems answer everyone with the same picture
    first = pairs["example_id"].gather([row.index(place) for place in range(len(said))])
    pictures = [grey() if data is None else opened(example, data) for example, data in zip(first, said, strict=True)]
    ours = clip.pictures(pictures)[row]

    def value(name: str) -> Values:
        if name == "clip_text_image":
            assert context.examples is not None, "see `lacks_queries`"
            asked = pairs.select("example_id").join(
                context.examples.select("example_id", "query"), on="example_id", how="left", maintain_order="left"
            )
            texts, at = _distinct(asked["query"].to_list())
            theirs = clip.texts(texts)[at]
        else:
            theirs = _targets(clip, pairs, context)
        found: Values = (ours * theirs).sum(axis=1).clip(-1, 1)
        return found

    return scores(pairs, {name: value(name) for name in names})


def _targets(clip: _Clip, pairs: pl.DataFrame, context: MetricContext) -> Values:
    """Embeddings `(examples, width)` of the target items' pictures."""
    assert context.view is not None
    images = dict(context.view.items.select("item_id", "image_id").iter_rows())
    items = pairs["answer"].list.first().to_list()
    ids, at = _distinct([images.get(item) for item in items])
    found = context.view.pictures(image for image in ids if image is not None)
    lacking = [item for item in items if images.get(item) not in found]
    if lacking:
        raise IncompleteError(f"target item {lacking[0]} has no picture to compare with; build the dataset again")
    return clip.pictures([decode(found[image]) for image in ids])[at]
