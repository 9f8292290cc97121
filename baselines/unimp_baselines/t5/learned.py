"""What a fit learned, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from unimp_baselines.common import opened_state, sealed_state
from unimp_baselines.recbole.feed import read_names, write_names
from unimp_baselines.t5 import weights
from unimp_baselines.t5.network import Extras, Personal
from unimp_baselines.t5.pictures import Table
from unimp_baselines.t5.vocabulary import Vocabulary

_FILES = ("weights.safetensors", "names.parquet", "tokenizer.json", "config.json", "scales.npy")


@dataclass(frozen=True)
class Learned:
    """A trained network with its vocabulary; `mean` and `spread` `(numbers,)` standardise features of pictures.

    `nameless` says that users are never named, as those of held-out domains.
    """

    network: Personal
    vocabulary: Vocabulary
    mean: Table
    spread: Table
    nameless: bool
    facts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write everything into an empty folder, `state.json` with the files' sums last."""
        known = self.vocabulary
        # Of weights that a T5 uses in several places one name is kept.
        save_file(
            {name: w.detach().cpu().contiguous() for name, w in self.network.named_parameters()},
            folder / "weights.safetensors",
        )
        write_names(folder / "names.parquet", pl.Series(list(known.users), dtype=pl.String), pl.Series(known.items))
        known.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "config.json").write_text(json.dumps(self.network.t5.config.to_dict(), indent=1, default=str))
        np.save(folder / "scales.npy", np.stack([self.mean, self.spread]))
        extras = vars(self.network.extras)
        sealed_state(
            folder,
            _FILES,
            vocabulary={"text_rows": known.text_rows, "labels": known.labels, "atomic": known.atomic},
            extras=extras,
            nameless=self.nameless,
            facts=self.facts,
        )

    @classmethod
    def load(cls, folder: Path, device: str) -> Learned:
        """What `save` wrote.

        Raises:
            IncompleteError: a file is not there or was changed.
        """
        state = opened_state(folder, _FILES)
        users, items = read_names(folder / "names.parquet")
        vocabulary = Vocabulary(
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            items=tuple(items.to_list()),
            users=tuple(users.drop_nulls().to_list()),
            **state["vocabulary"],
        )
        tensors = load_file(folder / "weights.safetensors")
        config = json.loads((folder / "config.json").read_text())
        with torch.random.fork_rng():  # its first weights are drawn and thrown away
            t5 = weights.described(config, tied="t5.lm_head.weight" not in tensors)
            network = Personal(t5, Extras(**state["extras"]))
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.copy_(tensors[name])
        mean, spread = np.load(folder / "scales.npy")
        return cls(network.to(device), vocabulary, mean, spread, state["nameless"], state["facts"])
