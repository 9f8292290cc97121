"""What a model stands on before it meets a user: tokenizer, vision tower, picture codes, a body that can read.

Published weights where they are given, else small parts trained here on what training may see: the catalogue's words
and pictures, and train reviews. Each part is made once in its folder, by rename, and taken from there ever after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp import teaching
from unimp.config import PRESETS, UnimpConfig
from unimp.contrastive import ContrastiveSettings
from unimp.disk import by_rename, write_text
from unimp.errors import CheckpointError, UnimpError
from unimp.features import ItemFeatures, encode_pictures
from unimp.image_presets import PRESETS as IMAGE_PRESETS
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.prompts import PAPER
from unimp.published import from_published
from unimp.shop import Items, Shop
from unimp.text import TextEncoder, load_tokenizer, save_tokenizer, train_tokenizer
from unimp.vision import VisionTower

Report = Callable[[str, float, str], None]  # stage, share done, words
TOKENIZER_REVIEWS = 20_000
PICTURES = "ids.json"
LEAST_PICTURES = 2
LEAST_CANDIDATES = 20  # labels of selection that every model has


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
    if options.flamingo is not None and options.text_weights is None:
        raise UnimpError("flamingo is a checkpoint over a language model; give --set text_weights=FOLDER-OR-NAME too")
    blind = options.vision == "off" or options.vision_weights is not None
    if not options.budget.scratch and (options.text_weights is None or not blind):
        raise UnimpError(
            f"preset '{options.preset}' needs published weights; give --set text_weights=FOLDER-OR-NAME and "
            "--set vision_weights=FOLDER-OR-NAME (or vision=off), or take preset tiny or small"
        )


def need_codec(items: Items, tasks: Collection[str]) -> None:
    """Refuse to draw where diffusers is missing, before hours go into other parts.

    Raises:
        UnimpError: pictures are to be drawn, and nothing could make codes of them.
    """
    if "image_generation" in tasks and any(items.picture_ids) and find_spec("diffusers") is None:
        others = ",".join(task for task in tasks if task != "image_generation")
        raise UnimpError(
            "pictures are tokenised by diffusers, which is not there; pip install diffusers, or learn to draw none: "
            f"--set learn={others or 'recommendation'}"
        )


def need_lent_codes(items: Items, tasks: Collection[str], folder: Path) -> None:
    """Refuse lent parts that lack the codes of pictures: what they hold must not depend on who borrows them first.

    Raises:
        UnimpError: pictures are to be drawn, and `folder` knows no codes of them.
    """
    from unimp.image_tokens import FACTS

    if "image_generation" in tasks and any(items.picture_ids) and not (folder / "images" / FACTS).is_file():
        raise UnimpError(
            f"pretrained={folder} holds no codes of pictures; pre-train with image_generation among what is learned"
        )


def make_tokenizer(shop: Shop, options: Options, folder: Path) -> TextEncoder:
    """The tokenizer, published or trained on the catalogue, train reviews and the questions' own words."""
    made = load_tokenizer(options.text_weights) if options.text_weights is not None else None
    if not (folder / "tokenizer.json").is_file():
        found = made or train_tokenizer(tokenizer_texts(shop), options.budget.vocabulary)
        by_rename(folder, lambda draft: save_tokenizer(found, draft))
    kept = load_tokenizer(folder)
    if made is not None and kept.get_vocab() != made.get_vocab():
        raise _of_another(folder, "tokenizer")
    return TextEncoder(kept)


def _of_another(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{folder} holds another {what} than the published one that was asked for; remove it")


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
    pool = options.pool
    if options.vision_weights is not None:
        tower = VisionTower.from_pretrained(options.vision_weights, pool=pool)
        if not (folder / "config.json").is_file():
            by_rename(folder, tower.save_pretrained)  # who answers later has no other
        elif VisionTower.from_pretrained(folder, pool=pool).fingerprint() != tower.fingerprint():
            raise _of_another(folder, "vision tower")
        return tower
    if not (folder / "config.json").is_file():
        rows = teaching.drawn(items)
        if len(rows) < LEAST_PICTURES:
            return None
        tower = teaching.teach(
            items,
            rows,
            encoder,
            PRESETS[options.preset]["vision"],
            ContrastiveSettings(seed=seed, steps=options.times(options.budget.tower_steps)),
            device=device,
            checkpoint=folder.with_suffix(".checkpoint"),
            report=lambda step, steps, loss: report("vision tower", step / steps, f"loss {loss:.3f}"),
            pool=pool,
        )
        by_rename(folder, tower.save_pretrained)
    return VisionTower.from_pretrained(folder, pool=pool)


def make_features(items: Items, tower: VisionTower, folder: Path, report: Report, device: torch.device) -> ItemFeatures:
    """Patch tokens of every picture, computed once; `ids.json` names the pictures."""
    wanted = sorted({name for name in items.picture_ids if name is not None})
    note = folder / PICTURES
    ids = _ids_of(folder, wanted)
    total = f"{tower.size_in_bytes(len(ids)) / 2**20:,.0f} MiB of patch tokens"
    store = encode_pictures(
        folder,
        tower,
        ids,
        items.pictures,
        device=device,
        report=lambda done, of: report("patch tokens", done / max(of, 1), total),
    )
    if _noted(folder) != ids:
        write_text(note, json.dumps(ids))
    return store.items(items.picture_ids)


def _ids_of(folder: Path, wanted: list[str]) -> list[str]:
    """Pictures of a store: those it has if all wanted ones are among them, as in a view that shows fewer."""
    known = _noted(folder) or wanted
    return known if set(wanted) <= set(known) else wanted


def _noted(folder: Path) -> list[str]:
    """Pictures that a store says it has, none where it says nothing.

    Raises:
        CheckpointError: what it says cannot be read.
    """
    note = folder / PICTURES
    try:
        return [str(name) for name in json.loads(note.read_text())] if note.is_file() else []
    except (OSError, ValueError, TypeError) as problem:
        raise CheckpointError(f"{note} is damaged ({problem}); remove it, what it names is made again") from problem


def covers(folder: Path, items: Items) -> bool:
    """Whether a store of patch tokens or codes has every picture that items show."""
    return {name for name in items.picture_ids if name is not None} <= set(_noted(folder))


def make_codes(
    items: Items, options: Options, seed: int, folder: Path, report: Report, device: torch.device
) -> tuple[Any, NDArray[np.int64] | None]:
    """The image tokenizer and the codes of every item `(items, places)`; nothing where no item has a picture."""
    from unimp.image_tokens import FACTS, ImageTokenizer

    ids = [name for name in items.picture_ids if name is not None]
    if not ids:
        return None, None
    size = options.budget.image_tokens
    if options.image_codes is not None:
        name, more = published_codes(options.image_codes)
        made = ImageTokenizer.load_published(name, **more).to(device)
        if not (folder / FACTS).is_file():
            made.save(folder)
        elif ImageTokenizer.load(folder).digest() != made.digest():
            raise _of_another(folder, "image tokenizer")
    elif (folder / FACTS).is_file():
        made = ImageTokenizer.load(folder).to(device)
    else:
        pictures = items.pictures(ids)
        made = ImageTokenizer.new(size, seed=seed).to(device)
        known = [pictures[name] for name in sorted(set(ids))]
        trained = made.train(
            known,
            seed=seed,
            steps=options.times(IMAGE_PRESETS[size].steps),
            preset=size,
            report=lambda step, share, loss: report("image tokenizer", share, f"step {step}, loss {loss:.4f}"),
            checkpoint=folder.with_suffix(".checkpoint"),
        )
        made.save(folder, trained)
    return made, codes_of(items, made, folder)


def published_codes(said: str) -> tuple[str, dict[str, Any]]:
    """Name of a published image tokenizer, and what `load_published` is told: `NAME[::SUBFOLDER][::PIXELS][::unit]`.

    Raises:
        UnimpError: something is said twice, or not at all.
    """
    name, *rest = said.split("::")
    more: dict[str, Any] = {}
    for one in rest:
        if one == "unit":
            more["unit"] = True
        elif one.isdecimal() and int(one):
            more["size"] = int(one)
        else:
            more["subfolder"] = one
    if not name or len(more) != len(rest) or not all(rest):
        raise UnimpError(f"image_codes={said}; wanted NAME[::SUBFOLDER][::PIXELS][::unit], as some/model::vqvae::256")
    return name, more


def codebook_note(folder: Path) -> str | None:
    """What the training of an image tokenizer came to; None of a published one."""
    from unimp.image_tokens import FACTS

    facts = json.loads((folder / FACTS).read_text())
    if (trained := facts.get("trained")) is None:
        return None
    return (
        f"image tokenizer: {trained['used']:.0%} of its codes are in use (perplexity {trained['perplexity']:.0f}), "
        f"{trained['psnr_db']:.1f} dB on held-out pictures"
    )


def codes_of(items: Items, made: Any, folder: Path) -> NDArray[np.int64]:
    """Picture codes of every item `(items, places)`, -1 for those without a picture.

    Equal pictures are coded once; codes are kept in `folder`, beside a note of whose they are.
    """
    note, wanted = folder / PICTURES, sorted({name for name in items.picture_ids if name is not None})
    names = _ids_of(folder, wanted)
    coded = dict(zip(names, made.encode_cached(names, items.pictures, folder), strict=True)) if wanted else {}
    if wanted and _noted(folder) != names:
        write_text(note, json.dumps(names))
    codes = np.full((len(items), made.codes_per_picture), -1, dtype=np.int64)
    for row, name in enumerate(items.picture_ids):
        if name is not None:
            codes[row] = coded[name]
    return codes


def language_texts(shop: Shop, encoder: TextEncoder) -> Sequence[NDArray[np.int32]]:
    """What a body learns to read from: the catalogue's attributes and train reviews."""
    return encoder.encode([f" {text}" for text in (*shop.items.bodies, *shop.reviews)])


def config_of(shop: Shop, options: Options, parts: Parts, levels: int, codebook: int) -> UnimpConfig:
    """The model's configuration for this catalogue."""
    sizes = dict(PRESETS[options.preset])
    if options.dropout:
        sizes["text"] = {**sizes["text"], "hidden_dropout": options.dropout}
    blind = options.model_fusion == "none" or parts.tower is None
    sizes["vision"] = None if parts.tower is None else parts.tower.model.config.to_dict()
    sizes["vision_pool"] = options.pool
    if options.train_rows is not None:
        sizes["train_rows"] = options.train_rows
    elif options.budget.scratch:
        sizes["train_rows"] = "all"
    asked = [*shop.selection, *shop.valid.get("selection", ())]
    return UnimpConfig(
        **sizes,
        candidates=max(LEAST_CANDIDATES, *(len(example.candidates) for example in asked), 0),
        text_ids=parts.encoder.size,
        items=len(shop.items),
        image_codes=parts.image_tokens.codes if parts.image_tokens is not None else 0,
        fusion="none" if blind else options.model_fusion,
        exclusive=options.exclusive,
        overview=options.overview,
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
    "overview",
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
