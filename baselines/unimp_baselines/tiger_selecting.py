"""Selection by TIGER: candidates whose probability, exact and over the whole catalogue, passes a tuned threshold.

Candidates are decoded whole, so a choice does not hang on what a beam reached. Threshold and rule are `choosing`'s.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from unimp_baselines.recbole import choosing
from unimp_baselines.tiger_decoding import Asked, batches
from unimp_baselines.tiger_net import Tiger

_CANDIDATES = 8  # candidates are padded to the next multiple of it


@torch.no_grad()
def probabilities(network: Tiger, asked: Asked, examples: pl.DataFrame, items: pl.Series) -> choosing.Grid:
    """p(id | question) of each example's candidates `(examples, candidates)`.

    It is 0 for an item that has no id and NaN where there is no candidate.
    """
    network.eval()
    places = choosing.places(examples, items)
    wide = -(-places.shape[1] // _CANDIDATES) * _CANDIDATES
    numbers = np.pad(places.clip(min=-1) + 1, ((0, 0), (0, wide - places.shape[1])))
    found = np.full(numbers.shape, np.nan)
    for rows, memory in batches(network, asked):
        some = numbers[[*rows, *[rows[-1]] * (len(memory.mask) - len(rows))]]
        codes = network.names[torch.from_numpy(some).to(memory.mask.device)]
        found[rows] = network.log_answers(memory, codes)[: len(rows)].double().exp().cpu().numpy()
    known = found[:, : places.shape[1]]
    return np.where(places >= 0, known, np.where(places == -1, 0.0, np.nan))
