"""Which candidates the model writes down, and how sure it is of each.

rows: prompts of the task `selection`;   labels: `s_0`, `s_1`, ...
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unimp.streams import Stream
from unimp.vocabulary import Vocabulary


def write_labels(
    stream: Stream, vocabulary: Vocabulary, counts: Tensor, *, once: bool
) -> tuple[NDArray[np.bool_], Tensor, Tensor]:
    """Labels written greedily `(rows, labels)`, their probability at the first place, and along all places.

    Only labels of the row's own candidates and the end may be written, each label once, and one at least.

    Args:
        stream: prompts, just read; it is used up.
        vocabulary: labels.
        counts: candidates of each row `(rows,)`.
        once: whether to stop after the first place.
    """
    labels, head = vocabulary.choices, stream.model.head
    free = torch.arange(len(labels), device=counts.device) < counts.unsqueeze(1)
    written, open_rows = torch.zeros_like(free), torch.ones_like(counts, dtype=torch.bool)
    first, missed = torch.zeros(free.shape, device=counts.device), torch.ones(free.shape, device=counts.device)
    for place in range(len(labels)):
        end = functional.linear(stream.last, head.text.weight[vocabulary.end].unsqueeze(0))
        logits = torch.cat([head.some(stream.last, labels), end], dim=1).float()
        able = torch.cat([free & ~written, torch.ones_like(free[:, :1])], dim=1)
        chance = logits.masked_fill(~able, -torch.inf).softmax(-1)
        if not place:
            first = chance[:, :-1]
        missed = torch.where(open_rows.unsqueeze(1), missed * (1 - chance[:, :-1]), missed)
        if not place:  # an answer holds something
            chance = torch.cat([chance[:, :-1], torch.where(free.any(1, keepdim=True), -1.0, chance[:, -1:])], 1)
        taken = chance.argmax(-1)
        open_rows = open_rows & (taken < len(labels))
        written[open_rows, taken[open_rows]] = True
        if once or not bool(open_rows.any()) or place + 1 == len(labels):
            break
        stream.step(torch.where(open_rows, labels.start + taken, vocabulary.end))
    return written.cpu().numpy(), first, 1 - missed
