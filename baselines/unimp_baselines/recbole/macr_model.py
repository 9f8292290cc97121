"""MACR's network (Wei et al. 2021, KDD) on matrix factorization; its equations stand in `macr`.

Shapes: batch B, items + 1 = n (row 0 is padding), width d.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


class MACR(GeneralRecommender):  # type: ignore[misc]
    """Matching score, item branch and user branch; `c` is kept with the weights."""

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        width = config["embedding_size"]
        self.user_embedding = nn.Embedding(self.n_users, width)
        self.item_embedding = nn.Embedding(self.n_items, width)
        self.user_branch = nn.Linear(width, 1, bias=False)
        self.item_branch = nn.Linear(width, 1, bias=False)
        for module in (self.user_embedding, self.item_embedding, self.user_branch, self.item_branch):
            nn.init.normal_(module.weight, std=0.1)
        self.alpha, self.beta, self.reg = config["alpha"], config["beta"], config["reg_weight"]
        self.options = [float(c) for c in config["c"]]
        self.c: Tensor
        self.register_buffer("c", torch.tensor(self.options[0]))

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of a batch of (user, item, sampled item)."""
        user = self.user_embedding(interaction[self.USER_ID])
        item = self.item_embedding(interaction[self.ITEM_ID])
        other = self.item_embedding(interaction[self.NEG_ITEM_ID])
        y_user = self.user_branch(user).squeeze(-1)
        y_item, y_other = self.item_branch(item).squeeze(-1), self.item_branch(other).squeeze(-1)
        right = (user * item).sum(-1) * y_item.sigmoid() * y_user.sigmoid()
        wrong = (user * other).sum(-1) * y_other.sigmoid() * y_user.sigmoid()
        squares = user.square().sum() + item.square().sum() + other.square().sum()
        loss: Tensor = (
            _cross_entropy(right, wrong)
            + self.alpha * _cross_entropy(y_item, y_other)
            + self.beta * _cross_entropy(y_user, y_user)
            + self.reg * squares / (2 * len(user))
        )
        return loss

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Counterfactual scores `(B, n)`: what is left of the match when `c` is taken from it."""
        user, items = self.user_embedding(interaction[self.USER_ID]), self.item_embedding.weight
        branches = self.user_branch(user).sigmoid() * self.item_branch(items).sigmoid().T
        scores: Tensor = (user @ items.T - self.c) * branches
        return scores

    def tune(self, validate: Callable[[], float]) -> float:
        """Set `c` to the option with the best validation score, the smallest of equal ones.

        Args:
            validate: the validation score of the model as it is.

        Returns:
            That best score.
        """
        reached = []
        for option in self.options:
            self.c.fill_(option)
            reached.append(validate())
        best = max(range(len(reached)), key=lambda k: (reached[k], -self.options[k]))
        self.c.fill_(self.options[best])
        return reached[best]


def _cross_entropy(right: Tensor, wrong: Tensor) -> Tensor:
    """Mean of -log sigma(right) - log(1 - sigma(wrong)), both `(B,)`."""
    loss: Tensor = F.softplus(-right).mean() + F.softplus(wrong).mean()
    return loss
