"""UniSRec's network (Hou et al. 2022, KDD): RecBole's SASRec over item vectors that an adaptor makes from text.

    v_i = adaptor(text of i)  [+ e_i if transductive]
    h   = SASRec's encoder over LN(v + positions), at the last item
    s_j = cos(h, v_j) / temperature

The stage "pretrain" needs no item numbers at all: its loss is the contrast of sequences with their next items in the
batch, and, with weight `lambda`, with themselves after some items, or some words of some items, were dropped.
Fine-tuning is cross-entropy over all items, from the weights in `pre_model_path`; `freeze` keeps encoder and positions.

Shapes: batch B, history L, width d, items + 1 = n (row 0 is padding).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from recbole.model.sequential_recommender.sasrec import SASRec
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole import checkpoints
from unimp_baselines.recbole.unisrec_net import Adaptor, contrast, without


class UniSRec(SASRec):  # type: ignore[misc]
    """UniSRec; `dataset.item_features` has "text" and, for pre-training, "text_with_gaps", both `(n, f)`."""

    universal: ClassVar[bool] = True  # what it learns in pre-training serves every catalogue
    not_pretrained: ClassVar[frozenset[str]] = frozenset({"item_embedding.weight"})

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.pretraining = config["train_stage"] == "pretrain"
        self.transductive = bool(config["transductive"]) and not self.pretraining
        self.temperature = float(config["temperature"])
        self.weight_of_sequences = float(config["lambda"])
        self.drop, self.drop_items = float(config["drop"]), float(config["drop_items"])
        if not self.transductive:
            del self.item_embedding
        text = dataset.item_features["text"]
        self.adaptor = Adaptor(
            text.shape[1], self.hidden_size, config["experts"], config["adaptor_dropout"], self.initializer_range
        )
        self.adaptor.measure(text)
        self.register_buffer("text", text, persistent=False)
        if self.pretraining:
            self.register_buffer("gaps", dataset.item_features["text_with_gaps"], persistent=False)
        self._all: Tensor | None = None  # vectors of all items while nothing is learned
        if config["pre_model_path"]:
            self._take_over(Path(config["pre_model_path"]), bool(config["freeze"]))

    def _take_over(self, path: Path, freeze: bool) -> None:
        kept = checkpoints.read(path)["state_dict"]
        mine = {name: value for name, value in self.state_dict().items() if name in self.not_pretrained}
        self.load_state_dict({**kept, **mine})
        for module in (self.position_embedding, self.trm_encoder):
            module.requires_grad_(not freeze)

    def train(self, mode: bool = True) -> UniSRec:
        """As every module's; what was kept of all items goes, because weights may have changed."""
        self._all = None
        super().train(mode)
        return self

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors `(R, d)` of items `(R,)`."""
        vectors: Tensor = self.adaptor(self.text[items])
        return vectors + self.item_embedding(items) if self.transductive else vectors

    def all_vectors(self) -> Tensor:
        """Vectors `(n, d)` of all items, made once where the model is not in training."""
        if self.training:
            return self.item_vectors(torch.arange(self.n_items, device=self.text.device))
        if self._all is None:
            self._all = self.item_vectors(torch.arange(self.n_items, device=self.text.device))
        return self._all

    def _looked_up(self, items: Tensor) -> Tensor:
        """Vectors `(B, L, d)` of histories `(B, L)`; of each item one, so that the adaptor sees it once a batch."""
        if not self.training:
            return self.all_vectors()[items]
        distinct, place = items.unique(return_inverse=True)
        return self.item_vectors(distinct)[place]

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Sequence vectors `(B, d)` of histories `(B, L)`, whose items may be given other vectors `(B, L, d)`."""
        places = torch.arange(item_seq.shape[1], device=item_seq.device)
        inputs = (self._looked_up(item_seq) if vectors is None else vectors) + self.position_embedding(places)
        mask = self.get_attention_mask(item_seq)
        layers = self.trm_encoder(self.dropout(self.LayerNorm(inputs)), mask, output_all_encoded_layers=True)
        last: Tensor = self.gather_indexes(layers[-1], item_seq_len - 1)
        return last

    def scores(self, sequences: Tensor, vectors: Tensor) -> Tensor:
        """Scores `(B, n)` of sequences `(B, d)` and items `(n, d)`; that of the padding is -inf."""
        found = F.normalize(sequences, dim=1) @ F.normalize(vectors, dim=1).T / self.temperature
        padding = torch.arange(len(vectors), device=found.device) == 0
        return found.masked_fill(padding, float("-inf"))

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of the stage."""
        items, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        target = interaction[self.POS_ITEM_ID]
        sequences = self.forward(items, lengths)
        if not self.pretraining:
            return F.cross_entropy(self.scores(sequences, self.all_vectors()), target)
        with_items = contrast(sequences, self._looked_up(target), target, self.temperature)
        with_sequences = contrast(sequences, self.augmented(items, lengths), target, self.temperature)
        return with_items + self.weight_of_sequences * with_sequences

    def augmented(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Vectors `(B, d)` of histories that lost items, or some of whose items lost words."""
        shortens = torch.rand(len(items), 1, device=items.device) < self.drop_items
        hit = torch.rand(items.shape, device=items.device) < self.drop
        fewer, left = without(items, hit & shortens)
        distinct, place = fewer.unique(return_inverse=True)
        whole, gaps = self.adaptor(self.text[distinct])[place], self.adaptor(self.gaps[distinct])[place]
        vectors = torch.where((hit & ~shortens)[..., None], gaps, whole)
        return self.forward(fewer, torch.where(shortens[:, 0], left, lengths), vectors)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        sequences = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return self.scores(sequences, self.all_vectors())

    def predict(self, interaction: Any) -> Tensor:
        """Scores `(B,)` of one item each."""
        chosen = interaction[self.ITEM_ID][:, None]
        return self.full_sort_predict(interaction).gather(1, chosen).squeeze(1)
