"""What a model stands on before it meets a user: tokenizer, vision tower, picture codes, a body that can read.

Published weights where they are given, else small parts trained here on what training may see: the catalogue's words
and pictures, and train reviews. Each part is made once in its folder, by rename, and taken from there ever after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPVisionConfig

from unimp.config import PRESETS, UnimpConfig
from unimp.contrastive import ContrastiveSettings, train_clip
from unimp.errors import UnimpError
from unimp.features import ItemFeatures, encode_pictures
from unimp.item_text import UNKNOWN
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.pictures import read_pictures
from unimp.prompts import PAPER
from unimp.published import from_published
from unimp.shop import Items, Shop
from unimp.text import TextEncoder, load_tokenizer, save_tokenizer, train_tokenizer
from unimp.vision import VisionTower

Report = Callable[[str, float, str], None]  # stage, share done, words
TOKENIZER_REVIEWS = 20_000
PICTURES = "ids.json"
LEAST_PICTURES = 2


@dataclass
class Parts:
    """The parts of one system; `tower` and `features` are None for a blind one, `codes` where no picture is made.

    `codes` `(items, places)` are picture codes, -1 for items without a picture.
    """

    encoder: TextEncoder
    tower: VisionTower | None
    features: ItemFeatures | None
    image_tokens: Any  # `image_tokens.ImageTokenizer`, which needs diffusers
    codes: NDArray[np.int64] | None
    items: int

    @property
    def has_picture(self) -> NDArray[np.bool_]:
        """Which items have a picture that the tower saw `(items,)`."""
        if self.features is None:
            return np.zeros(self.items, dtype=bool)
        present: NDArray[np.bool_] = self.features.present.numpy()
        return present

    def patches(self, pictures: Tensor) -> Tensor | None:
        """Patch tokens `(pictures, patches, width)` of item indices."""
        return self.features[pictures.cpu()] if self.features is not None else None


def need_weights(options: Options) -> None:
    """Refuse a preset that cannot begin from nothing, before hours go into its parts.

    Raises:
        UnimpError: no published language model or tower is given.
    """
    blind = options.vision == "off" or options.vision_weights is not None
    if not options.budget.scratch and (options.text_weights is None or not blind):
        raise UnimpError(
            f"preset '{options.preset}' needs published weights; give --set text_weights=FOLDER-OR-NAME and "
            "--set vision_weights=FOLDER-OR-NAME (or vision=off), or take preset tiny or small"
        )


def make_tokenizer(shop: Shop, options: Options, folder: Path) -> TextEncoder:
    """The tokenizer, published or trained on the catalogue, train reviews and the questions' own words."""
    if options.text_weights is not None:
        return TextEncoder(load_tokenizer(options.text_weights))
    if not (folder / "tokenizer.json").is_file():
        save_tokenizer(train_tokenizer(tokenizer_texts(shop), options.budget.vocabulary), folder)
    return TextEncoder(load_tokenizer(folder))


def tokenizer_texts(shop: Shop) -> list[str]:
    """What the tokenizer learns from. Wording that every sequence holds counts as often as it is read."""
    asked = [
        text.replace("{query}", "").replace("{target}", "").replace("{candidates}", "") for text in PAPER.ask.values()
    ]
    words = [f" {text.strip()}" for text in asked] + [" ID", " Rating", " Review", " Title", " Unknown"]
    bodies = [f" {body}" for body in shop.items.bodies]
    queries = [f" Query: {query}" for query in shop.log.queries]
    reviews = [f" {text}" for text in shop.reviews[:TOKENIZER_REVIEWS]]
    return (
        bodies * 3 + reviews + [f" {why}" for why in shop.log.why[:TOKENIZER_REVIEWS] if why] + (words + queries) * 300
    )


def make_tower(
    items: Items, encoder: TextEncoder, options: Options, seed: int, folder: Path, report: Report, device: torch.device
) -> VisionTower | None:
    """The frozen tower: published, or contrastively trained on the catalogue's pictures and titles.

    None where so few items have a picture that nothing can be learned.
    """
    pool = int(PRESETS[options.preset].get("vision_pool", 1))
    if options.vision_weights is not None:
        return VisionTower.from_pretrained(options.vision_weights, pool=pool)
    if not (folder / "config.json").is_file():
        rows = [k for k, name in enumerate(items.picture_ids) if name is not None]
        if len(rows) < LEAST_PICTURES:
            return None
        sizes = CLIPVisionConfig(**PRESETS[options.preset]["vision"])
        files = items.pictures([str(items.picture_ids[k]) for k in rows])
        names = [str(items.picture_ids[k]) for k in rows]
        settings = ContrastiveSettings(seed=seed)
        side = int(PRESETS[options.preset]["vision"]["image_size"])
        with at_most(options.budget.threads):
            clip = train_clip(
                read_pictures([files[name] for name in names], side, names),
                [None if items.titles[k] == UNKNOWN else items.titles[k] for k in rows],
                encoder,
                sizes,
                replace(settings, steps=options.times(options.budget.tower_steps)),
                device=device,
                checkpoint=folder.with_suffix(".checkpoint"),
                report=lambda step, steps, loss: report("vision tower", step / steps, f"loss {loss:.3f}"),
            )
        VisionTower.from_clip(clip, pool=pool).save_pretrained(folder)
    return VisionTower.from_pretrained(folder, pool=pool)


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Inside, torch uses so many threads; 0 changes nothing."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_features(items: Items, tower: VisionTower, folder: Path, report: Report, device: torch.device) -> ItemFeatures:
    """Patch tokens of every picture, computed once; `ids.json` names the pictures."""
    wanted = sorted({name for name in items.picture_ids if name is not None})
    note = folder / PICTURES
    ids = json.loads(note.read_text()) if note.is_file() else wanted
    if not set(wanted) <= set(ids):
        ids = wanted  # a view that shows pictures which training did not
    total = f"{tower.size_in_bytes(len(ids)) / 2**20:,.0f} MiB of patch tokens"
    store = encode_pictures(
        folder,
        tower,
        ids,
        items.pictures,
        device=device,
        report=lambda done, of: report("patch tokens", done / max(of, 1), total),
    )
    note.write_text(json.dumps(ids))
    return store.items(items.picture_ids)


def make_codes(
    items: Items, options: Options, seed: int, folder: Path, report: Report
) -> tuple[Any, NDArray[np.int64] | None]:
    """The image tokenizer and the codes of every item `(items, places)`; nothing where no item has a picture."""
    from unimp.image_tokens import FACTS, ImageTokenizer

    ids = [name for name in items.picture_ids if name is not None]
    if not ids:
        return None, None
    pictures = items.pictures(ids)
    size = options.budget.image_tokens
    if options.image_codes is not None:
        made = ImageTokenizer.load_published(options.image_codes)
    elif (folder / FACTS).is_file():
        made = ImageTokenizer.load(folder)
    else:
        made = ImageTokenizer.new(size, seed=seed)
        known = [pictures[name] for name in sorted(set(ids))]
        made.train(
            known,
            seed=seed,
            steps=options.times(IMAGE_STEPS[size]),
            preset=size,
            report=lambda step, share, loss: report("image tokenizer", share, f"step {step}, loss {loss:.4f}"),
            checkpoint=folder.with_suffix(".checkpoint"),
        )
        made.save(folder)
    return made, codes_of(items, made)


def codes_of(items: Items, made: Any) -> NDArray[np.int64]:
    """Picture codes of every item `(items, places)`, -1 for those without a picture; equal pictures are coded once."""
    names = sorted({name for name in items.picture_ids if name is not None})
    files = items.pictures(names)
    coded = dict(zip(names, made.encode([files[name] for name in names]), strict=True)) if names else {}
    codes = np.full((len(items), made.codes_per_picture), -1, dtype=np.int64)
    for row, name in enumerate(items.picture_ids):
        if name is not None:
            codes[row] = coded[name]
    return codes


IMAGE_STEPS = {"tiny": 1500, "small": 8000, "paper": 100_000}  # steps, not seconds: equal seeds must give equal codes


def language_texts(shop: Shop, encoder: TextEncoder) -> Sequence[NDArray[np.int32]]:
    """What a body learns to read from: the catalogue's attributes and train reviews."""
    return encoder.encode([f" {text}" for text in (*shop.items.bodies, *shop.reviews)])


def config_of(shop: Shop, options: Options, parts: Parts, levels: int, codebook: int) -> UnimpConfig:
    """The model's configuration for this catalogue."""
    sizes = dict(PRESETS[options.preset])
    blind = options.model_fusion == "none" or parts.tower is None
    sizes["vision"] = None if parts.tower is None else parts.tower.model.config.to_dict()
    if options.train_rows is not None:
        sizes["train_rows"] = options.train_rows
    elif options.budget.scratch:
        sizes["train_rows"] = "all"
    if options.image_places > 1:
        sizes["latents"] = max(int(sizes.get("latents", 64)), options.image_places)
    return UnimpConfig(
        **sizes,
        text_ids=parts.encoder.size,
        items=len(shop.items),
        image_codes=parts.image_tokens.codes if parts.image_tokens is not None else 0,
        fusion="none" if blind else options.model_fusion,
        exclusive=options.exclusive,
        item_levels=levels,
        codebook=codebook,
        item_rows=options.item_rows or options.budget.item_rows,
    )


def new_model(config: UnimpConfig, options: Options, seed: int) -> Unimp:
    """A model that has learned nothing beyond its published weights, if it has any."""
    if options.text_weights is None:
        torch.manual_seed(seed)
        return Unimp(config)
    sizes = {k: v for k, v in config.to_dict().items() if k in _SIZES}
    return from_published(options.text_weights, vision=config.vision, flamingo=options.flamingo, seed=seed, **sizes)


_SIZES = [
    "text_ids",
    "candidates",
    "items",
    "image_codes",
    "item_levels",
    "codebook",
    "fusion",
    "exclusive",
    "latents",
    "resampler_layers",
    "resampler_heads",
    "cross_every",
    "cross_heads",
    "head_width",
    "feed_forward",
    "gate",
    "train_rows",
    "vision_pool",
    "item_rows",
    "content_width",
]
