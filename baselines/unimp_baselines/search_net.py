"""Networks of HEM and ZAM, what they draw, and their loss with drawn negatives.

Shapes: batch B, words of a query Q, history L, words drawn W, negatives K, width d, items n; numbers run from 1, 0 is
padding or unknown. No score of all items is made in training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.feed import Lists, Numbers
from unimp_baselines.search_common import Asks, padded

QUERY = 32  # words of a query that count: its last


@dataclass(frozen=True)
class Batch:
    """Questions as tensors: users `(B,)`, query words `(B, Q)`, histories `(B, L)`, targets `(B,)`."""

    users: Tensor
    queries: Tensor
    histories: Tensor
    targets: Tensor

    @classmethod
    def of(cls, asks: Asks, rows: Numbers, history: int, device: torch.device) -> Batch:
        """Some of the questions, in fixed widths, so that a row does not depend on its neighbours."""
        arrays = (
            asks.users[rows],
            padded(asks.queries, rows, QUERY),
            padded(asks.histories, rows, history),
            asks.targets[rows],
        )
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


class Noise:
    """Draws numbers from 1 in proportion to count^0.75 (Mikolov et al. 2013, section 2.2)."""

    def __init__(self, counts: Numbers) -> None:
        """From `counts` `(numbers + 1,)`; number 0 is never drawn."""
        self.total = torch.from_numpy(np.cumsum(counts[1:].astype(np.float64) ** 0.75))

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Numbers of that shape; all 0 where nothing was counted."""
        if len(self.total) == 0 or self.total[-1] == 0:
            return torch.zeros(shape, dtype=torch.int64)
        points = torch.rand(shape, generator=generator, dtype=torch.float64) * self.total[-1]
        return torch.searchsorted(self.total, points, right=True).clamp(max=len(self.total) - 1) + 1


class Documents:
    """Draws words of documents, frequent ones less often.

    A word of frequency f is taken with weight min(1, sqrt(t/f) + t/f), the chance with which word2vec's code keeps it;
    drawing by this weight is what dropping at that rate and drawing from the rest does on average.
    """

    def __init__(self, documents: Lists, words: int, subsample: float) -> None:
        """From lists of word numbers; `words` is how many there are, `subsample` is t (0: all words alike)."""
        counts = np.bincount(documents.values, minlength=words + 1)
        share = subsample * max(1, counts.sum()) / np.maximum(counts, 1)
        weight = np.minimum(1, np.sqrt(share) + share) if subsample else np.ones(words + 1)
        self.values = torch.from_numpy(documents.values)
        self.starts = torch.from_numpy(documents.starts)
        self.total = torch.from_numpy(np.concatenate([[0.0], np.cumsum(weight[documents.values])]))

    def draw(self, numbers: Tensor, words: int, generator: torch.Generator) -> Tensor:
        """Words `(B, words)` of documents `(B,)`; 0 where a document has none."""
        first, last = self.starts[numbers], self.starts[numbers + 1]
        points = torch.rand((len(numbers), words), generator=generator, dtype=torch.float64)
        if len(self.values) == 0:
            return torch.zeros_like(points, dtype=torch.int64)
        low, high = self.total[first, None], self.total[last, None]
        places = torch.searchsorted(self.total[1:], low + points * (high - low), right=True)
        places = torch.minimum(places, last[:, None] - 1).clamp(min=0)
        return torch.where((last > first)[:, None], self.values[places], 0)


def nce(x: Tensor, right: Tensor, right_bias: Tensor, wrong: Tensor, wrong_bias: Tensor, real: Tensor) -> Tensor:
    """Mean over real targets of -log s(x.y + b_y) - sum over K of log s(-(x.y' + b_y')), s the logistic function.

    The loss of HEM's released code, biases among it. Targets drawn as their own negatives count nonetheless.

    Args:
        x: `(B, d)`.
        right: targets `(B, W, d)`.
        right_bias: `(B, W)`.
        wrong: negatives `(B, W, K, d)`.
        wrong_bias: `(B, W, K)`.
        real: `(B, W)`, false for padding.
    """
    good = F.logsigmoid(torch.einsum("bd,bwd->bw", x, right) + right_bias)
    bad = F.logsigmoid(-(torch.einsum("bd,bwkd->bwk", x, wrong) + wrong_bias)).sum(2)
    return -((good + bad) * real).sum() / real.sum().clamp(min=1)


@dataclass(frozen=True)
class Draw:
    """What one step draws: words `(B, W)` of items and users, negatives `(B, W, K)` of each, and items `(B, K)`."""

    item_words: Tensor
    item_wrong: Tensor
    user_words: Tensor
    user_wrong: Tensor
    items: Tensor


class Intent(nn.Module, ABC):
    """What HEM and ZAM share: words, items, the query's vector, and scores of an intent against all items.

    q = tanh(W mean(w) + b), a query without known words has mean 0. Items start at 0 and words in +-0.5/d (HEM's code).
    """

    def __init__(self, words: int, items: int, width: int, query_weight: float) -> None:
        super().__init__()
        self.query_weight = query_weight
        self.words, self.items = (nn.Embedding(count + 1, width, padding_idx=0) for count in (words, items))
        self.word_bias, self.item_bias = (nn.Parameter(torch.zeros(count + 1)) for count in (words, items))
        self.query = nn.Linear(width, width)
        nn.init.uniform_(self.words.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.items.weight)
        with torch.no_grad():
            self.words.weight[0] = 0

    def asked(self, queries: Tensor) -> Tensor:
        """Vectors `(B, d)` of queries `(B, Q)`."""
        count = (queries != 0).sum(1, keepdim=True).clamp(min=1)
        result: Tensor = torch.tanh(self.query(self.words(queries).sum(1) / count))
        return result

    @abstractmethod
    def personal(self, batch: Batch, asked: Tensor) -> Tensor:
        """What is known of the user `(B, d)`."""

    def intent(self, batch: Batch) -> Tensor:
        """m_uq = lambda q + (1 - lambda) u, `(B, d)`."""
        asked = self.asked(batch.queries)
        return self.query_weight * asked + (1 - self.query_weight) * self.personal(batch, asked)

    def ranking_loss(self, batch: Batch, wrong: Tensor) -> Tensor:
        """NCE(m_uq -> item) with negatives `(B, K)`."""
        right = batch.targets[:, None]
        return nce(
            self.intent(batch),
            self.items(right),
            self.item_bias[right],
            self.items(wrong)[:, None],
            self.item_bias[wrong][:, None],
            right != 0,
        )

    def language_loss(self, x: Tensor, words: Tensor, wrong: Tensor) -> Tensor:
        """NCE(x -> word) for vectors `(B, d)`, words `(B, W)` and negatives `(B, W, K)`."""
        return nce(x, self.words(words), self.word_bias[words], self.words(wrong), self.word_bias[wrong], words != 0)

    def loss(self, batch: Batch, draw: Draw) -> Tensor:
        """Ranking and the item's words."""
        language = self.language_loss(self.items(batch.targets), draw.item_words, draw.item_wrong)
        return self.ranking_loss(batch, draw.items) + language

    def scores(self, batch: Batch, similarity: str) -> Tensor:
        """Scores `(B, n)` of all items: product, cosine or product with the item's bias."""
        table = self.items.weight[1:]
        if similarity == "cosine":
            asked = self.asked(batch.queries)
            user = F.normalize(self.personal(batch, asked), dim=1)
            # The two parts are normalised before they are mixed, as in HEM's code.
            mixed = self.query_weight * F.normalize(asked, dim=1) + (1 - self.query_weight) * user
            return mixed @ F.normalize(table, dim=1).T
        scores = self.intent(batch) @ table.T
        return scores + self.item_bias[1:] if similarity == "bias" else scores


class HEM(Intent):
    """Ai et al. 2017: a vector for every user, who starts at 0, as an unknown one stays."""

    def __init__(self, words: int, items: int, users: int, width: int, query_weight: float, l2: float) -> None:
        super().__init__(words, items, width, query_weight)
        self.l2 = l2
        self.users = nn.Embedding(users + 1, width, padding_idx=0)
        nn.init.zeros_(self.users.weight)

    def personal(self, batch: Batch, asked: Tensor) -> Tensor:
        """The user's vector."""
        result: Tensor = self.users(batch.users)
        return result

    def loss(self, batch: Batch, draw: Draw) -> Tensor:
        """L = NCE(item -> word) + NCE(user -> word) + NCE(m_uq -> item) + l2 / 2 sum ||vectors in use||^2 / B."""
        user = self.users(batch.users)
        loss = super().loss(batch, draw) + self.language_loss(user, draw.user_words, draw.user_wrong)
        wrong = draw.item_wrong[draw.item_words != 0], draw.user_wrong[draw.user_words != 0]
        words = (batch.queries, draw.item_words, draw.user_words, *wrong)
        used = (user, self.items(batch.targets), self.items(draw.items), *map(self.words, words))
        size = torch.stack([part.square().sum() for part in used]).sum()
        return loss + self.l2 / 2 * size / len(batch.targets)


class ZAM(Intent):
    """Ai et al. 2019: a user is what the query attends to in the history, beside a vector of zeros.

    f(q, i) = (tanh(W_f q + b_f) as (beta, d) . i) . w_h
    a_i     = exp f(q, i) / (1 + sum over the history of exp f(q, i'))     (AEM: without the 1)
    u_q     = sum a_i i
    """

    def __init__(self, words: int, items: int, width: int, query_weight: float, beta: int, zero: bool) -> None:
        super().__init__(words, items, width, query_weight)
        self.beta, self.zero = beta, zero
        self.attend = nn.Linear(width, width * beta)
        self.mix = nn.Linear(beta, 1, bias=False)

    def weights(self, asked: Tensor, histories: Tensor, targets: Tensor) -> Tensor:
        """Attention `(B, L)` to a history's items; 0 at padding and at the target itself.

        Their sum is below 1 with the vector of zeros; without it, 1, or 0 where there is nothing to attend to.
        """
        real = (histories != 0) & (histories != targets[:, None])
        keys = torch.tanh(self.attend(asked)).view(len(asked), self.beta, -1)
        logits = self.mix(torch.einsum("bhd,bld->blh", keys, self.items(histories))).squeeze(2)
        logits = logits.masked_fill(~real, -torch.inf)
        none = logits.new_full((len(asked), 1), 0.0 if self.zero else -torch.inf)
        none = none.masked_fill(~real.any(1, keepdim=True), 0.0)  # a softmax over nothing is NaN
        return torch.cat([none, logits], 1).softmax(1)[:, 1:]

    def personal(self, batch: Batch, asked: Tensor) -> Tensor:
        """u_q; 0 without a history."""
        weights = self.weights(asked, batch.histories, batch.targets)
        return torch.einsum("bl,bld->bd", weights, self.items(batch.histories))
