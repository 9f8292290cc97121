"""Names for items made of their content: a few codes each, alike for items that are alike.

    items x width: content features, say of a picture's latents and a title's words
    levels: codes of an item;   codebook: codes a level has

All levels but the last are residual k-means (as RQ-VAE of Rajput et al. 2023, TIGER, without the autoencoder): a level
clusters what the levels before left over. The last level tells items apart that share all other codes. Items of a new
domain are named with the codebooks as they are, so a model knows every code of a name it has never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unimp.errors import CheckpointError, UnimpError

Codes = NDArray[np.int64]
Features = NDArray[np.float32]

_SAMPLE = 30_000  # items that codebooks are learned from, at most
_AT_ONCE = 16_384  # items whose distances are held at a time
_FORMAT = "unimp-semantic-ids-1"


@dataclass(frozen=True)
class SemanticIds:
    """Codebooks, and the codes they gave.

    `centre` `(width,)` and `scale` standardise features, `codebooks` are one table `(codes, width)` for each level but
    the last, `codes` `(items, levels)` name the items, no two alike; `codebook` is the most codes of any level.
    """

    centre: Tensor
    scale: float
    codebooks: tuple[Tensor, ...]
    codebook: int
    codes: Codes

    @classmethod
    def fit(
        cls, features: Features, *, levels: int = 4, codebook: int = 256, seed: int = 0, rounds: int = 25
    ) -> SemanticIds:
        """Learn codebooks on a catalogue and name its items; the same for the same features and seed.

        Args:
            features: `(items, width)`.
            levels: codes of an item, two or more.
            codebook: codes a level has.
            seed: of the sample and of the first centres.
            rounds: of k-means, at most.

        Raises:
            UnimpError: sizes that cannot name so many items, or features that are no finite numbers.
        """
        if levels < 2 or codebook < 2:
            raise UnimpError(f"semantic ids of {levels} x {codebook} codes name nothing; take 2 or more of each")
        x = _checked(features)
        rng = np.random.default_rng([seed, levels, codebook])
        centre = x.mean(0)
        scale = float((x - centre).square().mean().sqrt()) or 1.0
        chosen = torch.as_tensor(np.sort(rng.permutation(len(x))[:_SAMPLE]))
        residual = (x[chosen] - centre) / scale
        tables = []
        for _ in range(levels - 1):
            table = _k_means(residual, codebook, rng, rounds)
            tables.append(table)
            residual = residual - table[_nearest(residual, table)]
        bare = cls(centre, scale, tuple(tables), codebook, np.zeros((0, levels), dtype=np.int64))
        return bare.grown(features)

    @property
    def levels(self) -> int:
        """Codes of an item."""
        return len(self.codebooks) + 1

    def grown(self, features: Features) -> SemanticIds:
        """The same with more items behind those it has: codebooks and known names stay.

        An item whose name is taken counts up in the last code; where that is full it moves to the nearest code of the
        level before that has room.

        Raises:
            UnimpError: no room within any code of the item's first levels, or features of another width.
        """
        x = _checked(features)
        if x.shape[1] != len(self.centre):
            raise UnimpError(
                f"features are {x.shape[1]} wide, the codebooks {len(self.centre)}; use the features they were made on"
            )
        prefixes, residual = self._quantised(x)
        last = self.codebooks[-1]
        used: dict[tuple[int, ...], int] = {}
        for row in map(tuple, self.codes[:, :-1].tolist()):
            used[row] = used.get(row, 0) + 1
        codes = np.empty((len(x), self.levels), dtype=np.int64)
        for item, prefix in enumerate(map(tuple, prefixes.tolist())):
            name = prefix
            if used.get(name, 0) >= self.codebook:
                order = torch.cdist(residual[item : item + 1], last)[0].argsort(stable=True).tolist()
                free = ((*prefix[:-1], code) for code in order if used.get((*prefix[:-1], code), 0) < self.codebook)
                name = next(free, ())
                if not name:
                    raise UnimpError(
                        f"more than {len(last) * self.codebook} items share the semantic codes {prefix[:-1]}; "
                        "raise codebook or levels, or use atomic ids"
                    )
            codes[item] = (*name, used.get(name, 0))
            used[name] = used.get(name, 0) + 1
        return SemanticIds(
            self.centre, self.scale, self.codebooks, self.codebook, np.concatenate([self.codes, codes], axis=0)
        )

    def _quantised(self, x: Tensor) -> tuple[Codes, Tensor]:
        """Nearest codes `(items, levels - 1)`, and what the last k-means level saw `(items, width)`."""
        residual, columns = (x - self.centre) / self.scale, []
        seen = residual
        for table in self.codebooks:
            seen = residual
            nearest = _nearest(residual, table)
            columns.append(nearest)
            residual = residual - table[nearest]
        return torch.stack(columns, dim=1).numpy(), seen

    def save(self, file: Path) -> None:
        """Write a safetensors file that `load` reads."""
        tensors = {"centre": self.centre, "codes": torch.as_tensor(self.codes)}
        tensors |= {f"codebook.{level}": table for level, table in enumerate(self.codebooks)}
        told = {"format": _FORMAT, "scale": repr(self.scale), "codebook": str(self.codebook)}
        save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata=told)

    @classmethod
    def load(cls, file: Path) -> SemanticIds:
        """Read what `save` wrote.

        Raises:
            CheckpointError: no such file, or one that is damaged or something else.
        """
        try:
            with safe_open(file, framework="pt") as opened:
                told = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as problem:
            said = str(problem).split("\n")[0]
            raise CheckpointError(f"semantic ids cannot be read from {file}: {said}; make them again") from problem
        if told.get("format") != _FORMAT:
            raise CheckpointError(f"{file} holds no semantic ids; make them again")
        try:
            codes = tensors["codes"].numpy()
            tables = tuple(tensors[f"codebook.{level}"] for level in range(codes.shape[1] - 1))
            return cls(tensors["centre"], float(told["scale"]), tables, int(told["codebook"]), codes)
        except KeyError as problem:
            raise CheckpointError(f"semantic ids of {file} lack {problem}; make them again") from problem


def _checked(features: Features) -> Tensor:
    if features.ndim != 2 or not len(features):
        raise UnimpError(f"features are {features.shape}, wanted is (items, width); compute them again")
    x = torch.as_tensor(np.ascontiguousarray(features, dtype=np.float32))
    wrong = (~x.isfinite().all(1)).nonzero()
    if len(wrong):
        raise UnimpError(f"features of item {int(wrong[0])} are no finite numbers; compute them again")
    return x


def _distances(x: Tensor, table: Tensor) -> Tensor:
    """Squared distances `(n, codes)`, up to a constant of each row."""
    return table.square().sum(1) - 2 * x @ table.T


def _nearest(x: Tensor, table: Tensor) -> Tensor:
    return torch.cat([_distances(part, table).argmin(1) for part in torch.split(x, _AT_ONCE)])


def _k_means(x: Tensor, codes: int, rng: np.random.Generator, rounds: int) -> Tensor:
    """Centres `(up to codes, width)` by Lloyd's rounds from k-means++ (Arthur & Vassilvitskii 2007).

    Fewer centres than asked come of fewer distinct points. A centre that lost its points moves to the point farthest
    from its own.
    """
    table = _first_centres(x, codes, rng)
    before = torch.full((len(x),), -1)
    squares = x.square().sum(1)
    for _ in range(rounds):
        nearest = _nearest(x, table)
        if torch.equal(nearest, before):
            break
        before = nearest
        count = torch.bincount(nearest, minlength=len(table))
        sums = torch.zeros_like(table).index_add_(0, nearest, x)
        table = torch.where((count > 0).unsqueeze(1), sums / count.clamp(min=1).unsqueeze(1), table)
        empty = (count == 0).nonzero().squeeze(1)
        if len(empty):
            own = squares + table[nearest].square().sum(1) - 2 * (x * table[nearest]).sum(1)
            table[empty] = x[own.argsort(descending=True, stable=True)[: len(empty)]]
    return table


def _first_centres(x: Tensor, codes: int, rng: np.random.Generator) -> Tensor:
    squares = x.square().sum(1)
    chosen = [int(rng.integers(len(x)))]
    gap = (x - x[chosen[0]]).square().sum(1)
    tiny = 1e-6 * float(squares.max()) + 1e-12
    while len(chosen) < codes:
        chances = torch.where(gap > tiny, gap, 0.0).double().numpy()
        if not chances.any():
            break  # every point is a centre already
        chosen.append(int(np.searchsorted(chances.cumsum(), rng.random() * chances.sum(), side="right")))
        new = x[chosen[-1]]
        gap = torch.minimum(gap, (squares - 2 * x @ new + new.square().sum()).clamp(min=0))
    return x[chosen].clone()
