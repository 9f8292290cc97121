"""UniSRec: universal sequence representations (Hou et al. 2022, KDD).

Items are their texts: a frozen encoder's features x go through an adaptor, a mixture of K parametric whitenings with
noisy gates, and SASRec's encoder over the results gives a sequence vector h (equations 1-9; see `unisrec_model`):

    v = sum_k g_k W_k (dropout(x) - b_k),   g = softmax(x W_g + n * (softplus(x W_n) + 0.01))
    pre-training   contrast of h with the next item's v in the batch + 1e-3 contrast of h with an augmented h'
    fine-tuning    -log softmax_j cos(h, v_j) / 0.07 at the next item, over all items

`mode="inductive"` knows items by text alone, so it scores items that nobody bought; "transductive" adds a learned
vector to each item's v. Fine-tuning starts from the pre-trained weights, and refuses to begin if they were not loaded;
it keeps encoder and positions as they are (`freeze`) and trains adaptor, input normalisation and item vectors.

A held-out domain is fine-tuned from the same pre-trained weights on its own train rows, which is the paper's transfer;
with `new_domain="zero_shot"` (inductive only) nothing is trained: the weights of the first fine-tuning score the new
items by their texts, and the domain's validation examples decide about the threshold of selection alone.

The authors' code gives pairs with the same next item the logit 0, which still counts; here they are left out.

Departures: width 64 for 300, as the other transformers here; features by TF-IDF and SVD unless `text` names a sentence
encoder, brought to one scale; which augmentation is drawn for each sequence, not for each batch; an item has one noise
in a batch, not one for each place; the pre-training batch is 2048 for 8192, and what it mixes are the dataset's own
domains. Word drop is one draw for the whole training, as theirs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unimp_baselines.recbole import vectors
from unimp_baselines.recbole.runner import loss_settings
from unimp_baselines.recbole.sasrec import Transformer
from unimp_baselines.recbole.unisrec_words import with_gaps
from unimp_bench.runners.protocol import Context, TaskData

_PRETRAINED = "pretrained.pt"
_GAPS = "text_with_gaps"  # what pre-training reads beside "text"


@dataclass
class UniSRec(Transformer):
    """UniSRec, pre-trained and fine-tuned."""

    text: str = "tfidf_svd"  # encoder of item texts
    mode: Literal["inductive", "transductive"] = "inductive"
    freeze: bool = True  # of encoder and positions while fine-tuning
    new_domain: Literal["finetune", "zero_shot"] = "finetune"
    pretrain_epochs: int = 300
    pretrain_batch: int = 2048  # sequences that are contrasted
    experts: int = 8
    adaptor_dropout: float = 0.2
    temperature: float = 0.07
    sequences: float = 1e-3  # weight of the contrast between sequences
    drop: float = 0.2  # share of a sequence's items that an augmentation drops or takes words from, and of these words
    drop_items: float = 0.9  # share of augmentations that drop items; the others drop words

    model_name: ClassVar[str] = "UniSRec"
    needs: ClassVar[frozenset[str]] = frozenset({"text"})

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        self.refuse(self.pretrain_epochs < 1, "pretrain_epochs is below 1; it would be SASRec over texts")
        self.refuse(self.pretrain_batch < 2, f"pretrain_batch={self.pretrain_batch}; a contrast needs two sequences")
        self.refuse(self.experts < 1, f"experts={self.experts}; wanted at least 1")
        self.refuse(self.temperature <= 0, f"temperature={self.temperature}; wanted more than 0")
        for name in ("adaptor_dropout", "drop", "drop_items"):
            value = getattr(self, name)
            self.refuse(not 0 <= value <= 1, f"{name}={value}; wanted from 0 to 1")
        blind = self.mode == "transductive" and self.new_domain == "zero_shot"
        self.refuse(blind, "new_domain=zero_shot needs mode=inductive: new items have no learned vectors")

    def encoders(self) -> dict[str, str]:
        """The encoder of texts."""
        return {"text": self.text}

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            **super().settings(),
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "initializer_range": 0.02,
            "transductive": self.mode == "transductive",
            "freeze": self.freeze,
            "experts": self.experts,
            "adaptor_dropout": self.adaptor_dropout,
            "temperature": self.temperature,
            "lambda": self.sequences,
            "drop": self.drop,
            "drop_items": self.drop_items,
            **loss_settings("ce"),
        }

    def extras(self) -> dict[str, Any]:
        """The first stage."""
        return {"pretrain_epochs": self.pretrain_epochs, "pretrain_batch": self.pretrain_batch}

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Fine-tune the pre-trained weights on held-out domains, or score these with what was learned; see `fit`."""
        assert self._learned is not None, "fit or load first"
        self._learn(data, context, "new_domain", self._learned.folder / _PRETRAINED)

    def _learn(self, data: Mapping[str, TaskData], context: Context, cohort: str, warm: Path | None) -> None:
        if warm is None:  # else nothing is pre-trained, and nothing else reads them
            catalogue = next(iter(data.values())).catalogue
            gaps = vectors.encoded(with_gaps(catalogue, self.drop), self.text, context)
            np.save(context.scratch / f"{_GAPS}.npy", gaps.values[catalogue.members(cohort)])
        super()._learn(data, context, cohort, warm)

    def learns_from(self, folder: Path) -> dict[str, str]:
        """Features of the texts, and for pre-training of the texts that lost words."""
        gaps = folder / f"{_GAPS}.npy"
        return {**super().learns_from(folder), **({_GAPS: str(gaps)} if gaps.is_file() else {})}

    def _train(self, context: Context, warm: Path | None) -> dict[str, Any]:
        if warm is not None:
            shutil.copyfile(warm, context.scratch / _PRETRAINED)
            if self.new_domain == "zero_shot":
                shutil.copyfile(warm.with_name("weights.pt"), context.scratch / "weights.pt")
                return {"epochs": 0}
        return super()._train(context, warm)

    def _files(self) -> tuple[str, ...]:
        return (*super()._files(), _PRETRAINED)
