"""A system put on its feet: every part made or found, and a model over them that has learned nothing yet.

The first process of a launch makes a part and writes it down; the others read it. What follows from parts alone
(configuration, first weights, ids of texts) is computed by each, equally.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimp import keeping, precision, requests
from unimp import parts as making
from unimp.config import UnimpConfig
from unimp.content import semantic_codes
from unimp.errors import UnimpError
from unimp.item_text import UNKNOWN
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.parts import Parts
from unimp.prompts import JOINT, PAPER
from unimp.sequence import Style
from unimp.shop import Ints, Shop

if TYPE_CHECKING:
    from unimp.system import System

_SHOWN, _AROUND = 3, 256  # pictures in one question of image generation (eq. 9), and ids of the words around them


def stand(system: System, shop: Shop, folder: Path) -> tuple[Unimp, Parts, Ints | None]:
    """A system's model, its parts, and codes of semantic ids `(items, levels)`, None for atomic ones.

    Args:
        system: knows options, seed and tasks.
        shop: what parts are made from.
        folder: of the parts.

    Raises:
        UnimpError: published weights or diffusers are missing, or not all processes see the folder.
        CheckpointError: the folder holds parts of another catalogue or request.
    """
    options, items, team, report, device = system.options, shop.items, system.team, system.report, system.device
    making.need_weights(options)
    making.need_codec(items, system.tasks)
    if options.pretrained and not (folder / "tokenizer").is_dir():
        raise UnimpError(f"pretrained={folder} holds no parts; make them: unimp-bench pretrain --out {folder}")
    if options.pretrained:
        making.need_lent_codes(items, system.tasks, folder)
    team.see(folder)
    seed = system.seed if not options.pretrained else 0
    team.once(lambda: keeping.same_catalogue(folder, items))
    team.once(lambda: requests.same_parts(folder, options, seed))
    encoder = system.timed(
        "tokenizer", lambda: team.in_turn(lambda: making.make_tokenizer(shop, options, folder / "tokenizer"))
    )
    tower = features = tokens = codes = None
    if options.model_fusion != "none":
        tower = system.timed(
            "vision tower",
            lambda: team.in_turn(
                lambda: making.make_tower(items, encoder, options, seed, folder / "tower", report, device)
            ),
        )
    if tower is not None:
        features = system.timed(
            "patch tokens",
            lambda: team.in_turn(lambda: making.make_features(items, tower, folder / "features", report, device)),
        )
    if "image_generation" in system.tasks:
        tokens, codes = system.timed(
            "image tokenizer",
            lambda: team.in_turn(lambda: making.make_codes(items, options, seed, folder / "images", report, device)),
        )
    if tokens is not None and (note := making.codebook_note(folder / "images")):
        system.notes.append(note)
    if tower is None and options.model_fusion != "none":
        system.notes.append("no pictures: the text path alone is trained, and every picture reads as absent")
    if nameless := sum(title == UNKNOWN for title in items.titles):
        system.notes.append(f"{nameless} items without a title read '{UNKNOWN}'")
    parts = Parts(encoder, tower, features, tokens, codes, len(items))
    semantic, codebook = None, 0
    if options.item_ids == "semantic":
        bodies = encoder.encode([f" {body}" for body in items.bodies])
        bought = np.isin(np.arange(len(items)), shop.log.item)
        own = system.folder / "semantic"  # not among lent parts: they are made of what this system sees
        semantic, codebook = team.in_turn(lambda: semantic_codes(parts, bodies, bought, own, seed))
    levels = semantic.shape[1] if semantic is not None else 1
    config = making.config_of(shop, options, parts, levels, codebook)
    if tokens is not None:
        need_room(tokens.codes_per_picture, longest_of(config))
    model = precision.halved(making.new_model(config, options, system.seed), options, device)
    return model, parts, semantic


def need_room(codes: int, longest: int) -> None:
    """Refuse pictures of more codes than find a place in what a body reads.

    Raises:
        UnimpError: two retrieved pictures and one to draw are too long.
    """
    if (needed := _SHOWN * codes) + _AROUND > longest:
        raise UnimpError(
            f"{_SHOWN} pictures of {codes} codes, two retrieved and one to draw, take {needed} ids, "
            f"but the model reads {longest}; take --set image_codes of fewer codes a picture"
        )


def longest_of(config: UnimpConfig) -> int:
    """Ids that a body may read at once."""
    return int(getattr(config.text, "max_position_embeddings", 2048))


def style_of(options: Options, config: UnimpConfig, *, pictures: bool, places: int | None = None) -> Style:
    """What sequences show under the options, for a body that reads so far.

    `places` says how often `<image>` was written when the model learned, where that is known.
    """
    return Style(
        history=options.history or options.budget.history,
        earlier=options.earlier if options.earlier is not None else options.budget.earlier,
        context=options.context_target,
        ratings=options.ratings,
        whys=options.whys,
        pictures=pictures,
        image_places=places or (config.latents if config.fusion == "early" else 1),
        words=JOINT if options.joint_answers else PAPER,
        joint=options.joint_answers,
        longest=longest_of(config),
    )
