"""A small CLIP from a shop's own pictures and titles, for machines without published weights.

    n pictures of s pixels a side, b of them in a batch

Three losses share one picture encoder:

- picture against title: InfoNCE of CLIP (Radford et al. 2021) on the pooled CLS token;
- picture against the title's words (Joulin et al. 2016), which needs no negatives and so no large batch;
- view against view of one picture: the self-supervised term of SLIP (Mu et al. 2022). Titles do not tell a product's
  style. What no title tells, the first two losses let the tower forget.

The last reads the *mean patch token* before the final norm and the second reads it beside the CLS token, since patch
tokens are what UniMP reads: in the last layer only the CLS token would otherwise get a gradient.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from unimp.contrastive_losses import info_nce, light_views, thinned, word_loss
from unimp.errors import CheckpointError, TrainingError, UnimpError
from unimp.pictures import Pixels, normalised
from unimp.text import END_ID, TextEncoder

_ORDER, _DRAWN = 1, 2  # what a random stream is for
_MOST_SCALE = 100.0  # CLIP's bound of the inverse temperature

Report = Callable[[int, int, float], None]  # step, steps, loss


@dataclass(frozen=True)
class ContrastiveSettings:
    """How a small CLIP is trained.

    Args:
        steps: updates.
        batch: pictures in an update; fewer where the catalogue is smaller.
        learning_rate: at its peak; linear warm-up, then cosine to zero.
        weight_decay: of AdamW.
        warm_up: share of the steps.
        title_weight, words_weight, views_weight: of the three losses; 0 leaves one out.
        temperature: of view against view.
        thin: share of a title's ids left out at each look.
        zoom, shift, light: how far two views of a picture differ (`light_views`).
        text_width, text_layers, text_heads, text_tokens: sizes of the text encoder, which is dropped afterwards.
        seed: of weights, order and views.
    """

    steps: int = 2000
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    title_weight: float = 1.0
    words_weight: float = 1.0
    views_weight: float = 1.0
    temperature: float = 0.1
    thin: float = 0.4
    zoom: float = 0.2
    shift: float = 0.08
    light: float = 0.15
    text_width: int = 64
    text_layers: int = 1
    text_heads: int = 4
    text_tokens: int = 32
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of an update, counted from 0."""
        warm = max(1, round(self.warm_up * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (1 + cos(pi * (step - warm) / max(1, self.steps - warm))) / 2


def train_clip(
    pictures: Pixels,
    titles: Sequence[str | None],
    encoder: TextEncoder,
    vision: CLIPVisionConfig,
    settings: ContrastiveSettings,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    every: int = 100,
    report: Report | None = None,
) -> CLIPModel:
    """A CLIP trained on pictures and their titles; on a CPU, equal input gives equal bits, interrupted or not.

    Args:
        pictures: `(n, s, s, 3)`, `s` being the tower's.
        titles: what each picture's item is called; None or "" where it has no title, which still learns from views.
        encoder: text to ids.
        vision: sizes of the tower.
        settings: how to train.
        device: where.
        checkpoint: a file that is written every `every` steps and gone on from where it is there.
        every: steps between checkpoints.
        report: told each step and its loss.

    Returns:
        The whole model in evaluation mode; `VisionTower.from_clip` takes what UniMP needs.

    Raises:
        TrainingError: fewer than two pictures, a loss that is not a number (the last good checkpoint stays), or a
            checkpoint that cannot be written.
        CheckpointError: a checkpoint that is damaged or of another training.
    """
    if len(pictures) < 2:
        raise TrainingError(f"a CLIP cannot learn from {len(pictures)} pictures; build a dataset with pictures")
    if len(titles) != len(pictures) or pictures.shape[1] != vision.image_size:
        raise UnimpError(
            f"{len(pictures)} pictures of {pictures.shape[1]} pixels, {len(titles)} titles, "
            f"a tower of {vision.image_size} pixels; give one title a picture and pictures of the tower's size"
        )
    batch = min(settings.batch, len(pictures))
    ids, named = _title_ids(titles, encoder, settings.text_tokens)
    known = (torch.zeros(encoder.size).index_add_(0, *_distinct(ids)) >= 2).float()
    same_title, same_picture = _groups(titles), _groups([one.tobytes() for one in pictures])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _Trained(vision, encoder.size, settings)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    request = _request(pictures, ids, vision, settings)
    start = _resumed(checkpoint, request, model, optimizer)
    ids, known, pixels = ids.to(device), known.to(device), torch.from_numpy(pictures)
    for step in range(start, settings.steps):
        rows = _batch_rows(len(pictures), batch, step, settings.seed)
        drawn = _generator(settings.seed, _DRAWN, step)
        seen = normalised(pixels[rows].to(device))
        views = torch.cat([light_views(seen, drawn, settings.zoom, settings.shift, settings.light) for _ in range(2)])
        apart = _apart(same_picture, rows).to(device), _apart(same_title, rows).to(device)
        here = rows.to(device)
        loss = model(views, thinned(ids[here], settings.thin, drawn), ids[here], named[rows].to(device), known, *apart)
        value = float(loss.detach())
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        if not np.isfinite(value) or not np.isfinite(norm):
            raise TrainingError(
                f"loss is {value} and the gradient's norm {norm} at step {step} of learning pictures; take a learning "
                f"rate below {settings.learning_rate:g}"
            )
        optimizer.step()
        if report is not None:
            report(step + 1, settings.steps, value)
        if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == settings.steps):
            _save(checkpoint, request, step + 1, model, optimizer)
    model.to("cpu").eval()
    return model.clip


class _Trained(nn.Module):
    """CLIP and the heads that only training needs."""

    def __init__(self, vision: CLIPVisionConfig, text_ids: int, settings: ContrastiveSettings) -> None:
        super().__init__()
        text = CLIPTextConfig(
            vocab_size=text_ids,
            hidden_size=settings.text_width,
            intermediate_size=2 * settings.text_width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=settings.text_heads,
            max_position_embeddings=settings.text_tokens,
            projection_dim=vision.projection_dim,
            bos_token_id=END_ID,
            eos_token_id=END_ID,  # pooled at the first end; the default id would pool at the first token
            pad_token_id=END_ID,
        )
        self.settings = settings
        self.clip = CLIPModel(
            CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=vision.projection_dim)
        )
        width = vision.hidden_size
        self.view_head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.word_head = nn.Linear(width, text_ids)

    def forward(
        self,
        views: Tensor,
        thin: Tensor,
        ids: Tensor,
        named: Tensor,
        known: Tensor,
        same_picture: Tensor,
        same_title: Tensor,
    ) -> Tensor:
        """The weighted loss of a batch: `views` `(2b, 3, s, s)`, first views then second ones."""
        settings, half = self.settings, len(views) // 2
        out = self.clip.vision_model(pixel_values=views)
        patch = out.last_hidden_state[:, 1:].mean(dim=1)  # (2b, width): what UniMP will read
        loss = views.new_zeros(())
        if settings.views_weight:
            embedded = self.view_head(patch)
            term = info_nce(embedded[:half], embedded[half:], 1 / settings.temperature, same_picture)
            loss = loss + settings.views_weight * term
        if settings.words_weight:
            first = named.repeat(2)
            both = torch.cat([ids, ids])[first]
            for source in (patch, out.pooler_output):
                if len(both):
                    loss = loss + settings.words_weight / 2 * word_loss(self.word_head(source[first]), both, known)
        if settings.title_weight and int(named.sum()) > 1:
            words = self.clip.get_text_features(thin[named]).pooler_output
            seen = self.clip.visual_projection(out.pooler_output[:half][named])
            scale = self.clip.logit_scale.exp().clamp(max=_MOST_SCALE)
            loss = loss + settings.title_weight * info_nce(seen, words, scale, same_title[named][:, named])
        return loss


def _title_ids(titles: Sequence[str | None], encoder: TextEncoder, most: int) -> tuple[Tensor, Tensor]:
    """Ids `(n, l)` filled with ends, at least one a row, and which rows have a title `(n,)`."""
    rows = encoder.encode([title or "" for title in titles])
    longest = min(max((len(row) for row in rows), default=0), most - 1)
    ids: NDArray[np.int64] = np.full((len(rows), longest + 1), END_ID, dtype=np.int64)
    for place, row in enumerate(rows):
        cut = row[:longest]
        ids[place, : len(cut)] = cut
    return torch.from_numpy(ids), torch.tensor([len(row) > 0 for row in rows])


def _distinct(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Each title's distinct ids, one after another, and a one for each: what a document frequency adds up."""
    ordered = ids.sort(dim=1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    found = ordered[first]
    return found, torch.ones(len(found))


def _groups(things: Sequence[Any]) -> Tensor:
    """A number for each thing `(n,)`, equal for equal things."""
    numbers: dict[Any, int] = {}
    return torch.tensor([numbers.setdefault(thing, len(numbers)) for thing in things])


def _apart(groups: Tensor, rows: Tensor) -> Tensor:
    """Which pairs `(b, b)` of a batch are equal and must not be told apart."""
    own = groups[rows]
    return own[:, None] == own[None, :]


def _generator(seed: int, purpose: int, number: int) -> torch.Generator:
    """A stream of its own for each step: a resumed run needs to know no more than where it stopped."""
    state = int(np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def _batch_rows(count: int, batch: int, step: int, seed: int) -> Tensor:
    """Rows of an update `(b,)`: each epoch in an order of its own, the ragged end left out."""
    epoch, place = divmod(step, count // batch)
    order = torch.randperm(count, generator=_generator(seed, _ORDER, epoch))
    return order[place * batch : (place + 1) * batch]


def _request(pictures: Pixels, ids: Tensor, vision: CLIPVisionConfig, settings: ContrastiveSettings) -> str:
    """Hash of all that decides the weights."""
    digest = hashlib.sha256(json.dumps([asdict(settings), vision.to_diff_dict()], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(pictures).tobytes())
    digest.update(ids.numpy().tobytes())
    return digest.hexdigest()


def _save(file: Path, request: str, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    part = file.with_name(file.name + ".part")
    state = {"request": request, "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, part)
        part.replace(file)
    except (OSError, RuntimeError) as problem:  # torch reports a full disk as a RuntimeError
        said = str(problem).split("\n")[0]
        left = "the checkpoint before it is whole" if file.is_file() else "no checkpoint was made yet"
        raise TrainingError(f"{file} cannot be written: {said}; {left}") from problem


def _resumed(file: Path | None, request: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads a checkpoint if there is one; how many steps it has behind it."""
    if file is None or not file.exists():
        return 0
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if state["request"] == request:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
    except Exception as problem:  # unpickling and zip readers share no class
        raise CheckpointError(f"{file} is damaged ({type(problem).__name__}); remove it and train again") from problem
    raise CheckpointError(f"{file} is of another training (data or settings differ); remove it or name another")
