"""The network of P5 and VIP5 around a T5: added tokens, whole words, visual tokens, adapters.

Shapes: batch B, tokens of questions L, tokens of answers T, width d, tokens of the vocabulary V (text, then added).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.t5.encoding import IGNORED, Batch

WHOLE_WORDS = 1_024  # rows of their table; later words share the last one


@dataclass(frozen=True)
class Extras:
    """Sizes of what is put around a T5."""

    added: int  # tokens beyond the text's
    features: int = 0  # numbers of an item's picture; 0: no pictures, as P5
    pictures: int = 2  # visual tokens of an item
    adapter: int = 0  # width is divided by it; 0: no adapters


class Visual(nn.Module):
    """A picture's features as visual tokens: Linear, Tanh, Linear, then T5's normalisation (VIP5, section 3.1)."""

    def __init__(self, features: int, width: int, pictures: int) -> None:
        super().__init__()
        self.width, self.pictures = width, pictures
        inner = max(1, width * pictures // 2)
        self.map = nn.Sequential(nn.Linear(features, inner), nn.Tanh(), nn.Linear(inner, width * pictures))
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Tokens `(items * pictures, d)` of features `(items, numbers)`, an item's tokens one after another."""
        tokens = self.map(features).view(-1, self.width)
        result: Tensor = self.scale * tokens * torch.rsqrt(tokens.pow(2).mean(-1, keepdim=True) + 1e-6)
        return result


class Adapter(nn.Module):
    """x + W_up gelu(W_down x) (Houlsby et al. 2019; VIP5, section 3.3); starts as the identity."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, max(1, width // reduction))
        self.up = nn.Linear(max(1, width // reduction), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as given."""
        result: Tensor = x + self.up(F.gelu(self.down(x)))
        return result


class Personal(nn.Module):
    """A T5 that reads items, users, whole words and pictures."""

    features: Tensor

    def __init__(self, t5: Any, extras: Extras) -> None:
        super().__init__()
        self.t5, self.extras = t5, extras
        width = t5.config.d_model
        # T5 v1.1 has a table of its own for the output and does not scale before it; transformers always calls it tied.
        self.tied = t5.lm_head.weight is t5.shared.weight
        self.scale = width**-0.5 if t5.config.scale_decoder_outputs else 1.0
        spread = float(t5.shared.weight.detach().std())
        self.added = nn.Embedding(extras.added, width)
        nn.init.normal_(self.added.weight, std=spread)
        self.added_out = None if self.tied else nn.Linear(width, extras.added, bias=False)
        self.wholes = nn.Embedding(WHOLE_WORDS, width)
        nn.init.normal_(self.wholes.weight, std=0.5 * spread)
        self.kinds = nn.Embedding(2, width) if extras.features else None  # text or picture
        if self.kinds is not None:
            nn.init.zeros_(self.kinds.weight)
        self.visual = Visual(extras.features, width, extras.pictures) if extras.features else None
        self.adapters = nn.ModuleList()
        if extras.adapter:
            for place in self._sublayers():
                adapter = Adapter(width, extras.adapter)
                self.adapters.append(adapter)
                place.register_forward_hook(_through(adapter))
        # Rows of standardised features; they are the catalogue's, not learned, and change with what is shown.
        self.register_buffer("features", torch.zeros(0, max(1, extras.features)), persistent=False)

    def _sublayers(self) -> list[nn.Module]:
        """Attention and feed-forward parts, whose output an adapter changes before it is added to the stream."""
        names = ("SelfAttention", "EncDecAttention", "DenseReluDense")
        return [module for name, module in self.t5.named_modules() if name.rpartition(".")[2] in names]

    def freeze(self) -> None:
        """Learn adapters, normalisations and what is around the T5 only (VIP5: parameter-efficient tuning)."""
        for name, weight in self.t5.named_parameters():
            weight.requires_grad = "layer_norm" in name

    @property
    def text_rows(self) -> int:
        """Rows of the text's table."""
        rows: int = self.t5.shared.weight.shape[0]
        return rows

    def embedded(self, tokens: Tensor) -> Tensor:
        """Embeddings `(..., d)` of tokens of either kind."""
        own = tokens >= self.text_rows
        text = self.t5.shared(tokens.masked_fill(own, 0))
        other = self.added((tokens - self.text_rows).clamp(min=0))
        return torch.where(own[..., None], other, text)

    def encode(self, batch: Batch) -> Tensor:
        """States `(B, L, d)` of questions."""
        x = self.embedded(batch.tokens)
        if self.visual is not None and self.kinds is not None:
            seen = batch.tokens == self.text_rows  # the picture token is the first of the added ones
            if len(batch.shown):
                x = x.masked_scatter(seen[..., None], self.visual(self.features[batch.shown]))
            x = x + self.kinds(seen.long())
        x = x + self.wholes(batch.wholes.clamp(max=WHOLE_WORDS - 1))
        states: Tensor = self.t5.encoder(inputs_embeds=x, attention_mask=batch.mask.long()).last_hidden_state
        return states

    def decode(self, tokens: Tensor, states: Tensor, mask: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """States `(B, T, d)` after each of the answer tokens `(B, T)`, and the cache, if one is given."""
        said = self.t5.decoder(
            inputs_embeds=self.embedded(tokens),
            encoder_hidden_states=states,
            encoder_attention_mask=mask.long(),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return said.last_hidden_state, said.past_key_values

    def logits(self, states: Tensor) -> Tensor:
        """Scores `(..., V)` of the next token."""
        states = states * self.scale
        if self.tied:
            return torch.cat([states @ self.t5.shared.weight.T, states @ self.added.weight.T], dim=-1)
        assert self.added_out is not None
        return torch.cat([self.t5.lm_head(states), self.added_out(states)], dim=-1)

    def starts(self, rows: int) -> Tensor:
        """The token before every answer `(rows, 1)`."""
        start = self.t5.config.decoder_start_token_id
        return torch.full((rows, 1), start, dtype=torch.int64, device=self.added.weight.device)

    def losses(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of an answer's tokens `(B,)`, in nats (P5, equation 1, averaged over the answer)."""
        assert batch.answers is not None
        right = batch.answers
        before = right[:, :-1].masked_fill(right[:, :-1] == IGNORED, self.t5.config.pad_token_id)
        given = torch.cat([self.starts(len(right)), before], dim=1)
        states, _ = self.decode(given, self.encode(batch), batch.mask)
        real = right != IGNORED
        each = F.cross_entropy(self.logits(states[real]), right[real], reduction="none")
        row = real.nonzero()[:, 0]
        total = each.new_zeros(len(right)).index_add_(0, row, each)
        return total / real.sum(1)


def _through(adapter: Adapter) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, given: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (adapter(output[0]), *output[1:])
        return adapter(output)

    return hook
