"""What TIGER learned: codebooks, names of items, network, threshold; on disk and as the reader of examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from unimp_baselines.common import opened_state, sealed_state
from unimp_baselines.recbole.choosing import Grid
from unimp_baselines.recbole.feed import Lists, histories
from unimp_baselines.t5.decoding import Tree
from unimp_baselines.tiger_decoding import Asked
from unimp_baselines.tiger_naming import Named
from unimp_baselines.tiger_net import Shape, Tiger
from unimp_baselines.tiger_quantiser import Form, Quantiser
from unimp_baselines.tiger_selecting import probabilities
from unimp_bench.keyed import string_keys

_FILES = ("weights.safetensors", "quantiser.safetensors", "names.parquet")


@dataclass(frozen=True)
class Learned:
    """A trained system; `known` is the cohort whose users have tokens of their own, if any has."""

    quantiser: Quantiser
    named: Named
    tree: Tree
    network: Tiger
    known: str | None
    threshold: float | None
    facts: dict[str, Any]

    def asked(self, examples: pl.DataFrame) -> Asked:
        """Examples as questions; a user whom training saw nothing of is nobody."""
        users = tokens(examples["user_id"], self.network.shape.users)
        users *= (examples["cohort"] == (self.known or "")).to_numpy()
        return Asked(torch.from_numpy(users), rows_of(histories(examples, self.named.items)))

    def chances(self, examples: pl.DataFrame) -> Grid:
        """Probabilities of each example's candidates; see `tiger_selecting.probabilities`."""
        return probabilities(self.network, self.asked(examples), examples, self.named.items)

    def write(self, folder: Path) -> None:
        """Write weights, codebooks, names of items, and `state.json` with the files' sums."""
        for name, module in (("weights", self.network), ("quantiser", self.quantiser)):
            tensors = {key: value.cpu().contiguous() for key, value in module.state_dict().items()}
            save_file(tensors, folder / f"{name}.safetensors")
        self.named.write(folder / "names.parquet")
        sealed_state(folder, _FILES, known=self.known, threshold=self.threshold, facts=self.facts)

    @classmethod
    def read(cls, folder: Path, shape: Shape, device: str) -> Learned:
        """What `write` kept; the sizes of the codes in `shape` do not matter.

        Raises:
            IncompleteError: a file is not there or was changed.
        """
        state = opened_state(folder, _FILES)
        tensors = load_file(folder / "quantiser.safetensors")
        levels, codebook, latent = tensors["tables"].shape
        quantiser = Quantiser(Form(len(tensors["centre"]), latent, levels, codebook))
        quantiser.load_state_dict(tensors)
        named = Named.read(folder / "names.parquet")
        made = network(quantiser, named, shape, device)
        made.load_state_dict(load_file(folder / "weights.safetensors"))
        how = state["known"], state["threshold"], state["facts"]
        return cls(quantiser.to(device), named, Tree(named.codes), made.eval(), *how)


def network(quantiser: Quantiser, named: Named, shape: Shape, device: str) -> Tiger:
    """A fresh network of that shape for the quantiser's codes, that knows these items' names."""
    sizes = (quantiser.form.codebook,) * (quantiser.form.levels + 1)
    made = Tiger(Shape(**{**vars(shape), "sizes": sizes}))
    made.names = torch.from_numpy(np.pad(named.codes, ((1, 0), (0, 0))))
    return made.to(device)


def tokens(users: pl.Series, count: int) -> NDArray[np.int64]:
    """Tokens of users `(rows,)`, from 1 to `count`, by a hash of their ids."""
    hashed: NDArray[np.int64] = (string_keys(users, "tiger") % np.uint64(count)).astype(np.int64) + 1
    return hashed


def rows_of(lists: Lists) -> list[torch.Tensor]:
    """The lists as tensors."""
    return list(torch.from_numpy(lists.values).split(np.diff(lists.starts).tolist()))
