"""What a small CLIP learns from: pairs of views, pairs of picture and title, and the title's words.

b pictures in a batch, d width of an embedding, v text ids, l ids of the longest title
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unimp.text import END_ID


def light_views(pixels: Tensor, generator: torch.Generator, zoom: float, shift: float, light: float) -> Tensor:
    """Each picture seen a little closer, a little aside and a little brighter or darker.

    Colours keep their hue: colour is style, and an invariance to it would blind the tower to what no title tells.

    Args:
        pixels: normalised `(b, 3, s, s)`, on the CPU or a GPU; numbers are drawn on the CPU, alike for both.
        generator: what is drawn with.
        zoom: share of the side that may be cut away.
        shift: largest shift, as a share of the side; what comes into view repeats the border.
        light: largest change of brightness, as a share.
    """
    count = len(pixels)
    drawn = torch.rand(4, count, generator=generator)
    scale = 1 - zoom * drawn[0]
    place = torch.zeros(count, 2, 3)
    place[:, 0, 0] = place[:, 1, 1] = scale
    place[:, :, 2] = (drawn[1:3].T * 2 - 1) * 2 * shift  # the grid runs from -1 to 1
    grid = functional.affine_grid(place.to(pixels.device), list(pixels.shape), align_corners=False)
    seen = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return seen * (1 + light * (drawn[3] * 2 - 1)).to(pixels.device)[:, None, None, None]


def info_nce(left: Tensor, right: Tensor, scale: Tensor | float, same: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018, eq. 4; in both directions as in CLIP, Radford et al. 2021, fig. 3).

    Row i of `left` belongs to row i of `right`; other rows are negatives unless they show or say the same.

    Args:
        left: `(b, d)`, of any length.
        right: `(b, d)`, likewise.
        scale: inverse temperature.
        same: `(b, b)`, true where two rows must not be told apart; its diagonal is ignored.
    """
    left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
    logits = left @ right.T * scale  # (b, b)
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, torch.finfo(logits.dtype).min)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def thinned(ids: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Titles `(b, l)` without a random share of their ids, moved together; ends fill the rest.

    A number of a model or a brand tells every title from every other, so whole titles can be learned by heart without
    a look at what the picture shows. Seen in parts, titles of one kind of product come near each other.
    """
    keep = (torch.rand(ids.shape, generator=generator) >= share).to(ids.device) & (ids != END_ID)
    order = torch.argsort((~keep).int(), dim=1, stable=True)
    return torch.where(keep, ids, END_ID).gather(1, order)


def word_loss(logits: Tensor, ids: Tensor, known: Tensor) -> Tensor:
    """Multi-class loss of a title's words given its picture: cross-entropy against equal shares of its distinct ids.

    Joulin et al. 2016, "Learning visual features from large weakly supervised data", the multi-class logistic loss.

    Args:
        logits: `(b, v)`.
        ids: titles `(b, l)`, filled with ends.
        known: `(v,)` true for ids that at least two titles hold; others cannot be learned but by heart.
    """
    wanted = torch.zeros_like(logits).scatter_(1, ids, 1.0) * known
    wanted[:, END_ID] = 0
    shares = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1)
    return functional.cross_entropy(logits, shares)
