"""TIGER's residual-quantised autoencoder: items' features as a few codes each (Rajput et al. 2023, section 3.1).

    z = E(x),  r_1 = z,  c_l = argmin_k |r_l - e_lk|^2,  r_(l+1) = r_l - e_(l, c_l),  x' = D(sum over l of e_(l, c_l))
    L = |x - x'|^2 + sum over l of |sg[r_l] - e|^2 + beta |r_l - sg[e]|^2

with |.|^2 a mean over numbers and sg[.] without gradient. Codebooks start as k-means centres of the residuals, and a
code that no item used in an epoch moves to the residual of a drawn item, so that codebooks do not collapse.
Shapes: items n, features f, latent numbers w, levels P, codes of a level K.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.learning import Plan, train

_SAMPLE = 20_000  # items whose residuals k-means looks at, at most
_ROUNDS = 20  # of k-means
_AT_ONCE = 8_192  # items whose distances are held at a time
_SETTLING = 0.8  # share of the epochs after which no code is moved any more


@dataclass(frozen=True)
class Form:
    """Sizes of the autoencoder."""

    features: int
    latent: int
    levels: int
    codebook: int
    beta: float = 0.25  # of the commitment loss, as in the paper


@dataclass(frozen=True)
class Work:
    """How to train it."""

    steps: int  # of Adam, at least
    batch: int  # items
    seed: int  # of weights, centres and batches
    max_seconds: float = 0.0  # 0: no limit
    lr: float = 1e-3


class Quantiser(nn.Module):
    """Encoder, codebooks and decoder; features are centred and scaled before."""

    centre: Tensor
    scale: Tensor

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        widths = [form.features, 4 * form.latent, 2 * form.latent, form.latent]
        self.encoder, self.decoder = _layers(widths), _layers(widths[::-1])
        self.tables = nn.Parameter(torch.zeros(form.levels, form.codebook, form.latent))
        self.register_buffer("centre", torch.zeros(form.features))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def start(self, features: Tensor, generator: torch.Generator) -> None:
        """Take centre, scale and first codebooks from features `(n, f)`."""
        self.centre.copy_(features.mean(0))
        spread = (features - self.centre).square().mean().sqrt()
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))
        some = features[torch.randperm(len(features), generator=generator)[:_SAMPLE]]
        residual = self.encoder(self.standard(some))
        for table in self.tables:
            table.copy_(k_means(residual, self.form.codebook, generator))
            residual = residual - table[nearest(residual, table)]

    def standard(self, features: Tensor) -> Tensor:
        """Features `(n, f)` around zero with a mean square of one."""
        result: Tensor = (features - self.centre) / self.scale
        return result

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, codes `(n, P)` and what each level saw, without gradient, `(n, P, w)`."""
        x = self.standard(features)
        latent = self.encoder(x)
        residual, summed, penalty = latent, torch.zeros_like(latent), latent.new_zeros(())
        codes, saw = [], []
        for table in self.tables:
            code = nearest(residual.detach(), table.detach())
            found = table[code]
            codes.append(code)
            saw.append(residual.detach())
            penalty = penalty + F.mse_loss(found, residual.detach())
            penalty = penalty + self.form.beta * F.mse_loss(residual, found.detach())
            summed, residual = summed + found, residual - found.detach()
        # Straight through: the decoder's gradient passes to the encoder as if nothing had been rounded.
        rebuilt = self.decoder(latent + (summed - latent).detach())
        return F.mse_loss(rebuilt, x) + penalty, torch.stack(codes, 1), torch.stack(saw, 1)

    @torch.no_grad()
    def codes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `(n, P)`, and every code of the last level in order of distance `(n, K)`; both on the CPU."""
        whole = [self(part)[1:] for part in torch.split(features.to(self.scale.device), _AT_ONCE)]
        codes = torch.cat([part[0] for part in whole])
        last = torch.cat([part[1][:, -1] for part in whole])
        order = torch.cat(
            [_distances(part, self.tables[-1]).argsort(dim=1, stable=True) for part in last.split(_AT_ONCE)]
        )
        return codes.cpu(), order.cpu()


def _layers(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def _distances(x: Tensor, table: Tensor) -> Tensor:
    """Squared distances `(n, K)`, up to a constant of each row."""
    return table.square().sum(1) - 2 * x @ table.T


def nearest(x: Tensor, table: Tensor) -> Tensor:
    """The nearest row of a table `(K, w)` for each of `(n, w)`."""
    return torch.cat([_distances(part, table).argmin(1) for part in x.split(_AT_ONCE)])


def k_means(x: Tensor, codes: int, generator: torch.Generator) -> Tensor:
    """Centres `(codes, w)` of points `(n, w)` by Lloyd's rounds; a centre without points moves to a far point."""
    drawn = torch.randperm(len(x), generator=generator)
    table = x[drawn[torch.arange(codes) % len(x)]].clone()
    for _ in range(_ROUNDS):
        own = nearest(x, table)
        count = torch.bincount(own, minlength=codes)
        sums = torch.zeros_like(table).index_add_(0, own, x)
        table = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], table)
        empty = (count == 0).nonzero()[:, 0]
        far = (x - table[own]).square().sum(1).argsort(descending=True, stable=True)
        table[empty[: len(x)]] = x[far[: len(empty)]]
    return table


def learn(
    features: Tensor,
    form: Form,
    work: Work,
    checkpoint: Path,
    device: str,
    told: Callable[[int], None] = lambda steps: None,
) -> tuple[Quantiser, dict[str, Any]]:
    """Train on features `(n, f)`; the same for the same features and seed.

    Args:
        features: of the items to learn from.
        form: sizes; no more codes than items make sense.
        work: how to train.
        checkpoint: where to keep the state between epochs; found there, training goes on.
        device: where to compute.
        told: after each epoch, of the steps it took.

    Returns:
        The quantiser, and what it came to: `codes_used`, the share of each level's codes that name an item, and
        `quantiser_seconds`.

    Raises:
        ConfigError: the loss is not finite.
    """
    torch.manual_seed(work.seed)
    quantiser = Quantiser(form)
    quantiser.start(features, torch.Generator().manual_seed(work.seed))
    quantiser.to(device)
    each = -(-len(features) // work.batch)
    epochs = -(-work.steps // each)

    def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[Tensor, int]]:
        used = torch.zeros(form.levels, form.codebook, dtype=torch.int64)
        for part in torch.split(torch.randperm(len(features), generator=generator), work.batch):
            loss, codes, _ = quantiser(features[part].to(device))
            for level, some in enumerate(codes.cpu().T):
                used[level] += torch.bincount(some, minlength=form.codebook)
            yield loss, len(part)
        if number < _SETTLING * epochs:
            drawn = torch.randperm(len(features), generator=generator)[: form.codebook]
            revive(quantiser, used, features[drawn].to(device))

    plan = Plan("tiger's quantiser", epochs, epochs, work.lr, work.seed, work.max_seconds)
    trained = train(quantiser, epoch, lambda: None, plan, checkpoint, lambda *_: told(each))
    codes, _ = quantiser.codes(features)
    used = [len(level.unique()) / form.codebook for level in codes.T]
    return quantiser, {"codes_used": used, "quantiser_seconds": trained["seconds"]}


@torch.no_grad()
def revive(quantiser: Quantiser, used: Tensor, features: Tensor) -> None:
    """Move the codes that were not `used` `(P, K)` to what their level sees of some items `(m, f)`, each to another."""
    for level in range(quantiser.form.levels):
        dead = (used[level] == 0).nonzero()[:, 0].to(features.device)[: len(features)]
        if len(dead):
            saw = quantiser(features)[2][:, level]  # with the levels before as they are by now
            quantiser.tables[level, dead] = saw[: len(dead)]
