"""Losses: next-token cross-entropy, re-weighted by the focal factor (eq. 5 to 8; Lin et al. 2017).

    loss = sum_t m_t w_t (1 - p_t)^gamma (-log p_t) / norm

in float32 and with gradient through the factor. `norm` is named: `tokens` divides by the supervised tokens (the
released code), `weights` by the sum of their weights, `answers` averages within each answer first, so that an
explanation of 20 words counts as much as one item.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unimp.vocabulary import IGNORED

NORMS = ("tokens", "weights", "answers")


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Focal cross-entropy of each row `(n,)`, for logits `(n, ids)` and labels `(n,)`, none of them ignored.

    With p the probability of the label, d loss / d logit of the label is (1-p)^gamma (gamma p log p - (1-p)).
    """
    log_p = functional.log_softmax(logits.float(), dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    if gamma == 0:
        return -log_p
    # A factor of exactly 0 has no gradient below gamma = 1; expm1 is exact where p is near 1.
    return -((-torch.expm1(log_p)).clamp(min=1e-12) ** gamma) * log_p


def combine(
    each: Tensor, weights: Tensor, answers: Tensor, norm: str = "tokens", supervised: Tensor | None = None
) -> Tensor:
    """One number from losses `(n,)`, their weights `(n,)` and the answer that each belongs to `(n,)`.

    `supervised` replaces the count of tokens where a batch is spread over several steps or processes.
    """
    if norm == "tokens":
        return (each * weights).sum() / (supervised if supervised is not None else max(len(each), 1))
    if norm == "weights":
        return (each * weights).sum() / (supervised if supervised is not None else weights.sum().clamp(min=1e-8))
    if norm != "answers":
        raise ValueError(f"norm is '{norm}'; known: {', '.join(NORMS)}")
    _, member, size = torch.unique(answers, return_inverse=True, return_counts=True)
    share = weights / size[member]
    total: Tensor = (each * share).sum()
    return total / (supervised if supervised is not None else max(len(size), 1))


def supervised_places(labels: Tensor) -> Tensor:
    """Flat places `(n,)` of labels `(batch, tokens)` that are learned; the first of a row never is."""
    learned = labels != IGNORED
    learned[:, 0] = False
    return learned.flatten().nonzero().squeeze(1)
