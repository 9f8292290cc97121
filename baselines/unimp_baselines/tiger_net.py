"""TIGER's encoder-decoder: a user and the codes of past items in, the codes of the next item out.

After T5 (Raffel et al. 2020) in plain PyTorch: layers normalise their input (RMS) and add to it, ReLU, tied tables.
What differs: learned positions that count from the newest code, and a softmax over the codes of the level at hand
alone, since a level's place in the answer says which codes can come. A beam's prefixes ask one and the same encoder
output side by side, so its keys and values are computed once a question and copied never.

Shapes: batch B, past items H, levels P, tokens of a question L = 1 + H P, prefixes of a question W, tokens of an
answer T, width d, codes of a level K.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

Pair = tuple[Tensor, Tensor]  # keys and values (rows, heads, tokens, d / heads)


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    sizes: tuple[int, ...]  # codes of each level
    users: int  # rows of users that hash to them, and one for nobody
    width: int
    layers: int  # of the encoder, and of the decoder
    heads: int
    inner: int
    dropout: float
    history: int  # items


@dataclass(frozen=True)
class Memory:
    """Encoded questions: each decoder layer's keys and values, and which tokens are real `(B, 1, 1, L)`."""

    pairs: list[Pair]
    mask: Tensor


class Attention(nn.Module):
    """Attention of several heads, without biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.ask, self.key, self.value, self.out = (nn.Linear(shape.width, shape.width, bias=False) for _ in range(4))

    def pair(self, x: Tensor) -> Pair:
        """Keys and values of states `(rows, tokens, d)`."""
        return self._split(self.key(x)), self._split(self.value(x))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, pair: Pair, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """What states `(rows, tokens, d)` see."""
        seen = F.scaled_dot_product_attention(
            self._split(self.ask(x)),
            *pair,
            attn_mask=mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        result: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return result


class Layer(nn.Module):
    """Attention to its own sequence, to the encoder's output if it is the decoder's, then a feed-forward part."""

    def __init__(self, shape: Shape, *, decodes: bool) -> None:
        super().__init__()
        self.own = Attention(shape)
        self.cross = Attention(shape) if decodes else None
        self.feed = nn.Sequential(
            nn.Linear(shape.width, shape.inner, bias=False),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.inner, shape.width, bias=False),
        )
        self.norms = nn.ModuleList(nn.RMSNorm(shape.width, eps=1e-6) for _ in range(3 if decodes else 2))
        self.drop = nn.Dropout(shape.dropout)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """States `(B, L, d)`."""
        normed = self.norms[0](x)
        x = x + self.drop(self.own(normed, self.own.pair(normed), mask))
        result: Tensor = x + self.drop(self.feed(self.norms[-1](x)))
        return result

    def memory(self, states: Tensor) -> Pair:
        """Keys and values of the encoder's output `(B, L, d)`."""
        assert self.cross is not None
        return self.cross.pair(states)

    def decode(self, x: Tensor, memory: Pair, mask: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        """States `(B, W, T, d)` and the keys and values of the whole prefixes `(B W, heads, tokens, d / heads)`."""
        assert self.cross is not None
        wide, tokens = x.shape[1:3]
        x = x.flatten(0, 1)
        normed = self.norms[0](x)
        pair = self.own.pair(normed)
        if past is not None:  # one token at a time: it sees all that was said
            pair = torch.cat([past[0], pair[0]], 2), torch.cat([past[1], pair[1]], 2)
        x = x + self.drop(self.own(normed, pair, causal=past is None))
        x = x.view(-1, wide * tokens, x.shape[-1])
        x = x + self.drop(self.cross(self.norms[1](x), memory, mask))
        x = x + self.drop(self.feed(self.norms[2](x)))
        return x.unflatten(1, (wide, tokens)), pair


def _layers(modules: nn.ModuleList) -> list[Layer]:
    return [layer for layer in modules if isinstance(layer, Layer)]


class Tiger(nn.Module):
    """The network; `names` `(items + 1, P)` are the codes of items by number from 1, given and not learned."""

    names: Tensor
    offsets: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.codes = nn.Embedding(sum(shape.sizes), shape.width)  # levels one after another
        self.users = nn.Embedding(1 + shape.users, shape.width)  # 0: nobody
        self.places = nn.Embedding(shape.history * len(shape.sizes), shape.width)  # 0: the newest code
        self.begin = nn.Parameter(torch.empty(shape.width))
        for table in (self.codes.weight, self.users.weight, self.places.weight, self.begin):
            nn.init.normal_(table, std=shape.width**-0.5)
        self.encoder = nn.ModuleList(Layer(shape, decodes=False) for _ in range(shape.layers))
        self.decoder = nn.ModuleList(Layer(shape, decodes=True) for _ in range(shape.layers))
        self.norm_encoder, self.norm_decoder = (nn.RMSNorm(shape.width, eps=1e-6) for _ in range(2))
        self.drop = nn.Dropout(shape.dropout)
        starts = torch.tensor([0, *shape.sizes]).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.register_buffer("names", torch.zeros(1, len(shape.sizes), dtype=torch.int64), persistent=False)

    def _read(self, rows: Tensor) -> Tensor:
        # Tables are narrow because the same rows are the output layer; inputs are brought to the size of one.
        read: Tensor = self.drop(rows * self.shape.width**0.5)
        return read

    def encode(self, users: Tensor, items: Tensor) -> Memory:
        """Read users `(B,)`, 0 for nobody, and items `(B, H)`, 0 for padding at the front."""
        codes = (self.names[items] + self.offsets).flatten(1)  # (B, H P)
        places = torch.arange(codes.shape[1] - 1, -1, -1, device=codes.device)
        past = self.codes(codes) + self.places(places)
        x = self._read(torch.cat([self.users(users)[:, None], past], 1))
        real = (items > 0).repeat_interleave(len(self.shape.sizes), 1)
        mask = torch.cat([real.new_ones(len(real), 1), real], 1)[:, None, None]
        for layer in _layers(self.encoder):
            x = layer.encode(x, mask)
        x = self.norm_encoder(x)
        return Memory([layer.memory(x) for layer in _layers(self.decoder)], mask)

    def starts(self, rows: int) -> Tensor:
        """What is read before an answer `(rows, 1, 1, d)`."""
        return self._read(self.begin).expand(rows, 1, 1, -1)

    def said(self, codes: Tensor, level: int) -> Tensor:
        """What is read of a level's codes `(B, W)`, as `(B, W, 1, d)`."""
        return self._read(self.codes(codes + self.offsets[level]))[:, :, None]

    def decode(self, memory: Memory, x: Tensor, past: list[Pair] | None = None) -> tuple[Tensor, list[Pair]]:
        """States `(B, W, T, d)` after what was read, itself of that shape; with `past`, T is 1 and follows it."""
        now = []
        for k, layer in enumerate(_layers(self.decoder)):
            x, pair = layer.decode(x, memory.pairs[k], memory.mask, past[k] if past is not None else None)
            now.append(pair)
        return self.norm_decoder(x), now

    def log_chances(self, states: Tensor, level: int) -> Tensor:
        """Logarithms of the chances of a level's codes `(..., K)` by states `(..., d)`."""
        first = int(self.offsets[level])
        table = self.codes.weight[first : first + self.shape.sizes[level]]
        return (states @ table.T).log_softmax(-1)

    def log_answers(self, memory: Memory, codes: Tensor) -> Tensor:
        """Logarithms of p(codes | question) `(B, W)` of whole answers `(B, W, P)`, all read at once."""
        rows, wide, levels = codes.shape
        before = [self.starts(rows).expand(-1, wide, -1, -1)]
        before += [self.said(codes[..., level], level) for level in range(levels - 1)]
        states, _ = self.decode(memory, torch.cat(before, 2))
        each = [
            self.log_chances(states[:, :, level], level).gather(2, codes[..., level, None])[..., 0]
            for level in range(levels)
        ]
        return torch.stack(each).sum(0)
