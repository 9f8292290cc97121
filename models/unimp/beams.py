"""Beam search: over names of items, and over ids that an end id closes.

    rows: prompts;   beams: continuations kept of each;   ids: what may be written

Each prompt is read once, not once a beam, and rows never influence one another. The second search ends and scores as
`generate` of transformers does with `early_stopping=True` (tests compare the two).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unimp.streams import Stream
from unimp.trie import Trie

MOST_LOGITS = 64_000_000  # computed at a time where all ids are needed


def split_rows(ids: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of tables `(n, ...)` side by side, so many at a time that their logits over all `ids` fit into memory."""
    size = max(1, MOST_LOGITS // ids)
    return zip(*(torch.split(table, size) for table in tables), strict=True)


def name_beams(
    stream: Stream, trie: Trie, log_probabilities: Callable[[Tensor, Tensor], Tensor], beams: int
) -> tuple[Tensor, Tensor]:
    """The best items of each prompt, `(rows, up to beams)`, and their log-probabilities, best first.

    A beam is a prefix of a name; with as many beams as there are prefixes the search is exhaustive. An item -1 with
    minus infinity fills rows that found fewer.

    Args:
        stream: prompts, just read; it is used up.
        trie: names.
        log_probabilities: `(n, m)` of ids `(n, m)` given hidden states `(n, width)`.
        beams: most prefixes kept.
    """
    rows, device = len(stream), stream.last.device
    nodes, scores = torch.zeros((rows, 1), dtype=torch.long, device=device), torch.zeros((rows, 1), device=device)
    for level in range(trie.levels):
        ids, kids = trie.children(nodes.flatten())
        gained = log_probabilities(stream.last, ids.clamp(min=0)).masked_fill(kids < 0, -torch.inf)
        total = (scores.view(-1, 1) + gained).view(rows, -1)
        width = nodes.shape[1]
        scores, at = total.topk(min(beams, total.shape[1]), dim=1)
        nodes = kids.view(rows, -1).gather(1, at)
        if level + 1 < trie.levels:
            parent = torch.arange(rows, device=device).unsqueeze(1) * width + at.div(
                ids.shape[1], rounding_mode="floor"
            )
            stream.take(parent.flatten())
            stream.step(ids.view(rows, -1).gather(1, at).clamp(min=0).flatten())
    return torch.where(nodes >= 0, trie.item[nodes.clamp(min=0)], -1), scores


def text_beams(
    stream: Stream,
    log_probabilities: Callable[[Tensor, int], Tensor],
    *,
    beams: int,
    longest: int,
    end: int,
    length_penalty: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The best answers `(rows, beams, longest)`, filled up with `end`, and their scores `(rows, beams)`, best first.

    A continuation that ends is kept with score log p / length ** length_penalty, the end id counted; a row is done when
    it has `beams` of them or at `longest` ids. One beam is greedy decoding.

    Args:
        stream: prompts, just read; it is used up.
        log_probabilities: `(n, ids)` of the next id given hidden states `(n, width)` and how many ids were written;
            minus infinity forbids.
        beams: continuations kept.
        longest: most ids of an answer.
        end: id that closes one.
        length_penalty: above 0 favours long answers.
    """
    rows, device = len(stream), stream.last.device
    answers = torch.full((rows, beams, longest), end, device=device)
    finals = torch.full((rows, beams), -torch.inf, device=device)
    alive = torch.arange(rows, device=device)  # prompts still in the stream
    written = torch.full((rows, 1, longest), end, device=device)
    scores = torch.zeros((rows, 1), device=device)
    for length in range(1, longest + 1):
        gained = log_probabilities(stream.last, length - 1)
        ids, width = gained.shape[1], written.shape[1]
        total = (scores.view(-1, 1) + gained).view(len(alive), -1)
        best, at = total.topk(min(2 * beams, total.shape[1]), dim=1)
        parent, token = at.div(ids, rounding_mode="floor"), at.remainder(ids)
        longer = written.gather(1, parent.unsqueeze(2).expand(-1, -1, longest))
        longer[:, :, length - 1] = token
        ended = (token == end) | (length == longest)
        kept = ended & (torch.arange(ended.shape[1], device=device) < beams)
        final = torch.where(kept, best / length**length_penalty, -torch.inf)
        finals[alive], where = torch.cat([finals[alive], final], dim=1).topk(beams, dim=1)
        together = torch.cat([answers[alive], longer], dim=1)
        answers[alive] = together.gather(1, where.unsqueeze(2).expand(-1, -1, longest))
        going = ~finals[alive].isfinite().all(1)
        if length == longest or not bool(going.any()):
            break
        scores, where = torch.where(ended, -torch.inf, best).topk(min(beams, best.shape[1]), dim=1)
        written = longer.gather(1, where.unsqueeze(2).expand(-1, -1, longest))
        source = torch.arange(len(alive), device=device).unsqueeze(1) * width + parent.gather(1, where)
        if bool((~going).any()):
            alive, scores, written, source = alive[going], scores[going], written[going], source[going]
        if beams > 1 or len(source) < len(stream):
            stream.take(source.flatten())
        stream.step(written[:, :, length - 1].flatten())
    return answers, finals
