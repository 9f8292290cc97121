"""Item rows that begin with what an item is: its words, and for the head its picture too; and the words of a query.

    words(x)   = LN( sum_t w_t E[t] )                         t: different ids of x, an item's attributes or a query
    read(i)    = c_i free(i) + W_r words(i)                   c_i = min(n_i / TRUST, 1), n_i: times i was bought
    predict(i) = read(i) + c_i delta(i) + W_p p_i
    logit(i)   = h . predict(i) + b_i,  b_i = log(1 + n_i) at the start
    h          = body(...) + W_q words(query)                 in a search

with E a small table of its own, w_t the inverse document frequency of an id, p_i the item's mean patch token, scaled,
and delta 0 at the start. The paper's atomic ids (`item_rows = free`) know nothing of an item before it was bought, and
nothing ties the row by which it is read to the one by which it is predicted (MPT's are tied). Where the catalogue is
small or new, content lets what was learned of one item hold for others like it. How often an item is bought no content
tells, and a small model would spend most of its steps on learning it.

What is an item's own counts less where it was hardly ever bought: Adam's steps do not shrink with a gradient that comes
but rarely, and an item that was bought three times would have its customers by heart after an epoch. A query's words,
in small letters as those of the items, reach the head in one linear step (a bag of words: Joulin et al. 2017), a short
way past a body that needs far more searches than a small shop has to learn which word goes with which items. Read rows
have words only, so that pictures reach the text by fusion alone, and every ablation of it stays one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unimp.rows import INIT_STD

TRUST = 10  # purchases from which on what is an item's own counts in full


def popularity(bought: NDArray[np.int64], items: int) -> Tensor:
    """First biases `(items,)` of items, given the items of all train interactions; their mean is 0."""
    logs = np.log1p(np.bincount(bought, minlength=items))
    return torch.as_tensor(logs - logs[logs > 0].mean() if (logs > 0).any() else logs, dtype=torch.float32)


class ItemContent(nn.Module):
    """Content of every item; `furnish` must be called before it is asked.

    How rare a word is and how pictures vary are those of the catalogue that was learned from, and are kept with the
    weights: in another view of it (noise, a probe) an item that is shown as before has the row that it had.

    Args:
        text_ids: ids of the tokenizer.
        words: width of E.
        vision: width of patch tokens; 0 for a blind model.
        width: of rows.
        items: how many there are.
    """

    def __init__(self, text_ids: int, words: int, vision: int, width: int, items: int) -> None:
        super().__init__()
        self.words = nn.Embedding(text_ids, words)
        self.read = nn.Linear(words, width, bias=False)
        self.ask = nn.Linear(words, width, bias=False)
        self.predict = nn.Linear(vision, width, bias=False) if vision else None
        self.vision = vision
        self.register_buffer("ids", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("offsets", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("weights", torch.zeros(0), persistent=False)
        self.register_buffer("pictures", torch.zeros(0, vision), persistent=False)
        self.register_buffer("own", torch.ones(items))
        self.register_buffer("idf", torch.zeros(text_ids))
        self.register_buffer("picture_mean", torch.zeros(vision))
        self.register_buffer("picture_deviation", torch.ones(vision))
        self.ids: Tensor
        self.offsets: Tensor
        self.weights: Tensor
        self.pictures: Tensor
        self.own: Tensor
        self.idf: Tensor
        self.picture_mean: Tensor
        self.picture_deviation: Tensor

    def start(self) -> None:
        """Draw first weights: rows of about the size that other rows have."""
        nn.init.normal_(self.words.weight)
        for linear in (self.read, self.ask, self.predict):
            if linear is not None:
                nn.init.normal_(linear.weight, std=INIT_STD / linear.in_features**0.5)

    def learn(self, bodies: Sequence[NDArray[np.int32]], pictures: Tensor | None) -> None:
        """Take the statistics of the catalogue that is learned from; arguments as in `furnish`."""
        seen = np.zeros(self.words.num_embeddings)
        for body in bodies:
            seen[np.unique(body)] += 1
        # An id that no item has would count most of all, by a row that nothing ever taught.
        idf = np.where(seen > 0, np.log((len(bodies) + 1) / (seen + 1)), 0.0)
        self.idf.copy_(torch.as_tensor(idf, dtype=torch.float32))
        if pictures is not None and self.vision:
            some = pictures[pictures.abs().sum(1) > 0]
            if len(some) > 1:
                self.picture_mean.copy_(some.mean(0))
                self.picture_deviation.copy_(some.std(0).clamp(min=1e-6))

    def trust(self, bought: NDArray[np.int64], which: NDArray[np.bool_]) -> None:
        """Let what is their own count for items `(items,)`, given the items of all train interactions."""
        times = np.bincount(bought, minlength=len(which))
        counts = torch.as_tensor(times / TRUST, dtype=torch.float32, device=self.own.device).clamp(max=1)
        self.own.copy_(torch.where(torch.as_tensor(which, device=self.own.device), counts, self.own))

    def furnish(self, bodies: Sequence[NDArray[np.int32]], pictures: Tensor | None) -> None:
        """Take in a catalogue, or another view of it, by the statistics of `learn`.

        Args:
            bodies: ids of each item's attributes in small letters, as a query's words are read.
            pictures: mean patch token of each item `(items, vision)`, zeros for none.
        """
        kinds = [np.unique(body) for body in bodies]
        idf = self.idf.cpu().numpy()
        weights = [idf[own] for own in kinds]
        device = self.words.weight.device
        lengths = np.array([len(own) for own in kinds])
        self.ids = torch.as_tensor(np.concatenate(kinds).astype(np.int64), device=device)
        self.offsets = torch.as_tensor(np.cumsum(lengths) - lengths, device=device)
        self.weights = torch.as_tensor(np.concatenate(weights), dtype=torch.float32, device=device)
        if self.vision:
            assert pictures is not None
            own = pictures.to(device)
            scaled = (own - self.picture_mean) / self.picture_deviation
            self.pictures = torch.where((own.abs().sum(1) > 0)[:, None], scaled, 0.0)

    def _words(self, ids: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(self.words.weight.dtype)
        bags = functional.embedding_bag(ids, self.words.weight, starts, mode="sum", per_sample_weights=weights)
        return functional.layer_norm(bags, bags.shape[-1:])

    def read_rows(self, free: Tensor) -> Tensor:
        """Rows by which items are read `(items, width)`, given what is their own."""
        assert len(self.offsets), "furnish the content first"
        content: Tensor = self.read(self._words(self.ids, self.offsets, self.weights))
        return self.own.to(free.dtype)[:, None] * free + content

    def queries(self, words: Tensor, starts: Tensor) -> Tensor:
        """What is added to hidden states where queries are asked `(queries, width)`; see `Batch`."""
        added: Tensor = self.ask(self._words(words, starts, self.idf[words]))
        return added

    def predict_rows(self, delta: Tensor, read: Tensor) -> Tensor:
        """Rows by which they are predicted `(items, width)`, given delta and the rows by which they are read."""
        rows = self.own.to(delta.dtype)[:, None] * delta + read
        return rows if self.predict is None else rows + self.predict(self.pictures.to(read.dtype))
