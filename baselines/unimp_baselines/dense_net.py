"""The two-tower network of the dense retriever: one encoder of texts, in-batch negatives.

Shapes: batch B, history L, words of a text T, width d, items n.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.bm25 import tokens
from unimp_bench.errors import InputError

WORDS = 48  # of a text that count


def hashed(texts: list[str], buckets: int) -> Tensor:
    """Numbers of words `(texts, T)` from 1 to `buckets`, by CRC-32, padded with 0; so no word is unknown."""
    table = torch.zeros(len(texts), WORDS, dtype=torch.int64)
    for row, text in enumerate(texts):
        numbers = [crc32(word.encode()) % buckets + 1 for word in tokens(text)[:WORDS]]
        table[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return table


class Hashed(nn.Module):
    """Mean of the vectors of a text's words."""

    def __init__(self, buckets: int, width: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(buckets + 1, width, mode="mean", padding_idx=0)
        nn.init.normal_(self.bag.weight, std=width**-0.5)
        with torch.no_grad():
            self.bag.weight[0] = 0

    def forward(self, texts: Tensor) -> Tensor:
        """Vectors `(texts, d)` of `hashed` texts; 0 for one without words."""
        result: Tensor = self.bag(texts)
        return result


class Dense(nn.Module):
    """An item is its text's vector; a question is its query's vector with a learned share of the history's mean.

    z(x) = e(x) / |e(x)|,  v = z(query) + softplus(a) mean over the history of z(title),  score = exp(s) v.z(item) / |v|
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.share = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.tensor(float(np.log(20))))

    def items(self, texts: Tensor) -> Tensor:
        """Unit vectors `(texts, d)`."""
        return F.normalize(self.encoder(texts), dim=1)

    def asked(self, queries: Tensor, seen: Tensor, real: Tensor) -> Tensor:
        """Unit vectors `(B, d)` of questions.

        Args:
            queries: texts `(B, T)`.
            seen: unit vectors `(B, L, d)` of past titles.
            real: which of them count `(B, L)`.
        """
        mean = (seen * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(self.items(queries) + F.softplus(self.share) * mean, dim=1)

    def loss(self, asked: Tensor, items: Tensor, targets: Tensor, log_share: Tensor) -> Tensor:
        """Cross-entropy of each question's item against the batch's others.

        A batch holds popular items more often; taking log of their share `(B,)` from the scores undoes it (Yi et al.,
        RecSys 2019). The same item asked for twice is no negative of itself.
        """
        scores = self.scale.exp() * asked @ items.T - log_share
        twice = (targets[:, None] == targets) & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
        return F.cross_entropy(scores.masked_fill(twice, -torch.inf), torch.arange(len(targets), device=targets.device))


@torch.no_grad()
def from_folder(folder: Path, texts: list[str], device: str, batch: int) -> Tensor:
    """Vectors `(texts, d)` by a local sentence encoder: the mean, or first, state of its transformer.

    Distinct texts are encoded once, sorted by length, `batch` at a time; one at a time, a text's vector does not depend
    on its neighbours. The first state is taken where the folder's `1_Pooling/config.json` says so.

    Raises:
        InputError: the folder holds no encoder.
    """
    import json

    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        model = AutoModel.from_pretrained(str(folder), local_files_only=True).to(device).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"no sentence encoder ({reason})", folder, "name a folder with config.json, weights and tokenizer"
        ) from None
    pooling = folder / "1_Pooling" / "config.json"
    first = pooling.is_file() and bool(json.loads(pooling.read_text()).get("pooling_mode_cls_token"))
    distinct = pl.Series(texts, dtype=pl.String).unique().sort().to_list()
    distinct.sort(key=lambda text: (len(text), text))
    found = [torch.zeros(0, model.config.hidden_size, device=device)]  # where there are no texts
    for start in range(0, len(distinct), batch):
        some = tokenizer(
            distinct[start : start + batch], padding=True, truncation=True, max_length=128, return_tensors="pt"
        ).to(device)
        states = model(**some).last_hidden_state
        mask = some["attention_mask"][..., None]
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        found.append(states[:, 0] if first else mean)
    place = {text: k for k, text in enumerate(distinct)}
    return torch.cat(found)[[place[text] for text in texts]].cpu()
