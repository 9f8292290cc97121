"""A shop in which only pictures tell what people like: six styles, each a colour, and nobody crosses over.

Items are bought so rarely (once or twice in the train rows) that who bought what with whom says little, unless fewer of
them are asked for.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.keyed import index_of
from unimp_bench.runners.protocol import Context, Runner, ScoreBlock, TaskData
from unimp_bench.schemas import EXAMPLES, IMAGES, INTERACTIONS, ITEMS, LABELLED_EXAMPLES, conform

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (200, 30, 200))
WORDS = ("Crimson", "Emerald", "Navy", "Golden", "Teal", "Violet")
ITEM_COUNT, USER_COUNT, BOUGHT = 720, 240, 6


@dataclass(frozen=True)
class Styled:
    """What may be learned, and examples whose answers a runner does not see."""

    data: TaskData
    test: pl.DataFrame
    answers: list[str]

    def ndcg(self, runner: Runner, context: Context, most: int = 10) -> float:
        """NDCG of the runner's rankings without seen items."""
        index, found = self.data.catalogue.index, []
        for block in runner.predict("recommendation", self.test, self.data.catalogue, context):
            assert isinstance(block, ScoreBlock)
            found.append(block.scores)
        scores = np.concatenate(found)
        seen = self.test["history"].list.eval(pl.element().struct.field("item_id")).to_list()
        values = []
        for row, items, answer in zip(scores, seen, self.answers, strict=True):
            row[[index[item] for item in items]] = -np.inf
            place = int((row >= row[index[answer]]).sum()) - 1  # equal scores count against it
            values.append(1 / np.log2(place + 2) if place < most else 0.0)
        return float(np.mean(values))


def styled(folder: Path, items: int = ITEM_COUNT, bought: int = BOUGHT, *, named: bool = False) -> Styled:
    """The shop; its pictures are written to the folder.

    Args:
        folder: of the pictures.
        items: in the catalogue; fewer are bought more often, so that who bought what with whom tells the style as well.
        bought: by each user, the last but one for validation and the last for the test.
        named: whether titles and categories tell the style, too.
    """
    rng = np.random.default_rng(3)
    styles = np.arange(items) % len(COLOURS)
    catalogue = _catalogue(folder, styles, rng, named=named)
    names = [f"i{k:03d}" for k in range(items)]
    rows, asked = [], []
    for user in range(USER_COUNT):
        own = rng.permutation(np.flatnonzero(styles == user % len(COLOURS)))[:bought]
        past = [{"item_id": names[k]} for k in own]
        rows += [
            {"user_id": f"u{user}", "position": at, "item_id": names[k], "domain": "toys"}
            for at, k in enumerate(own[:-2])
        ]
        asked += [
            {
                "example_id": f"u{user}:{at:06d}",
                "user_id": f"u{user}",
                "position": at,
                "cohort": "in_domain",
                "history": past[:at],
                "item_ids": [names[own[at]]],
            }
            for at in (bought - 2, bought - 1)
        ]
    labelled = conform(pl.DataFrame(asked), LABELLED_EXAMPLES.columns)
    valid, test = (labelled.filter(pl.col("position") == at) for at in (bought - 2, bought - 1))
    interactions = conform(pl.DataFrame(rows), INTERACTIONS.columns)
    data = TaskData(labelled.clear().lazy(), valid.lazy(), interactions.lazy(), catalogue)
    answers = test["item_ids"].list.first().to_list()
    return Styled(data, test.select(list(EXAMPLES.columns)), answers)


def _catalogue(folder: Path, styles: NDArray[np.int64], rng: np.random.Generator, *, named: bool) -> Catalogue:
    items, images = [], {}
    for k, style in enumerate(styles):
        file = io.BytesIO()
        colour = (np.array(COLOURS[style]) + rng.normal(0, 15, 3)).clip(0, 255).astype(int).tolist()
        Image.new("RGB", (16, 16), tuple(colour)).save(file, "PNG")
        name = sha256(file.getvalue()).hexdigest()
        images[name] = file.getvalue()
        said = [WORDS[style]] if named else []
        words = {"title": " ".join([*said, "Toy"]), "categories": ["Toys", *said]}
        items.append({"item_id": f"i{k:03d}", "domain": "toys", **words, "image_id": name})
    frame = conform(pl.DataFrame(items), ITEMS.columns)
    frame = frame.with_columns(pl.Series("item_index", index_of(frame["item_id"]))).sort("item_index")
    rows = [
        {"image_id": name, "image": {"bytes": data, "path": None}, "width": 16, "height": 16}
        for name, data in images.items()
    ]
    path = folder / "images-00000.parquet"
    tables.write(conform(pl.DataFrame(rows), IMAGES.columns), path, IMAGES)
    tables.write(frame, folder / "items.parquet", ITEMS)
    return Catalogue(frame, frozenset(), (path,), origin=folder / "items.parquet")
