"""What MMGCL and MMSSL share: the interaction graph, unit-length item features, vectors computed once to predict.

Shapes: batch B, users + 1 = m, items + 1 = n (row 0 is padding), width d.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.graphs import Bipartite


class MultiModal(GeneralRecommender, ABC):  # type: ignore[misc]
    """A model whose users and items are vectors found from the graph and the items' features.

    The graph and the features belong to the data, so they are no part of the weights. Subclasses make `user_embedding`
    and `item_embedding` in the order that they wish to draw them in, and say in `vectors` what users and items are.
    """

    input_type: ClassVar[InputType] = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        rows = dataset.inter_feat
        user, item = (rows[name].to(self.device) for name in (self.USER_ID, self.ITEM_ID))
        self.graph = Bipartite.of(user, item, self.n_users, self.n_items)
        self.modalities = sorted(dataset.item_features)
        for name in self.modalities:
            features = F.normalize(dataset.item_features[name].float(), dim=1)
            self.register_buffer(f"{name}_features", features, persistent=False)
        width = config["embedding_size"]
        self.user_embedding = nn.Embedding(self.n_users, width)
        self.item_embedding = nn.Embedding(self.n_items, width)
        layers = {name: nn.Linear(self.features(name).shape[1], width) for name in self.modalities}
        self.project = nn.ModuleDict(layers)
        tables: list[nn.Embedding | nn.Linear] = [self.user_embedding, self.item_embedding, *layers.values()]
        for table in tables:
            nn.init.xavier_uniform_(table.weight)
        self._found: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(lambda *_: self.forget())

    def features(self, modality: str) -> Tensor:
        """Items' features `(n, width)`, each row of length 1 or all zeros."""
        found: Tensor = getattr(self, f"{modality}_features")
        return found

    def forget(self) -> None:
        """The weights are about to change: what was computed from them is worth nothing."""
        self._found = None

    @abstractmethod
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Users `(m, d)` and items `(n, d)`, whose inner products are the scores."""

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        if self._found is None:
            self._found = self.vectors()
        users, items = self._found
        return users[interaction[self.USER_ID]] @ items.T


def bpr(user: Tensor, item: Tensor, other: Tensor) -> Tensor:
    """mean[-log sigma(u . i - u . j)] of vectors `(B, d)`."""
    return F.softplus((user * (other - item)).sum(-1)).mean()
