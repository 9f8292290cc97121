"""RecBole's trainer for a model with a critic: each batch, the critic's step comes before the model's."""

from __future__ import annotations

from typing import Any

import torch
from recbole.trainer import Trainer
from torch import Tensor

_DECAY_EPOCHS = 50


class AdversarialTrainer(Trainer):  # type: ignore[misc]
    """Trains a model and its `critic`, each by an optimizer of its own; `critic_loss` is what the critic lowers.

    `calculate_loss` must not need the critic's gradients. The model's rate is lr x lr_decay^(epoch / 50).
    """

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        critic = list(self.model.critic.parameters())
        apart = {id(value) for value in critic}
        self.critic_optimizer = torch.optim.Adam(critic, lr=self.config["critic_lr"], betas=(0.5, 0.9))
        rest = [value for value in self.model.parameters() if id(value) not in apart]
        optimizer: torch.optim.Optimizer = super()._build_optimizer(params=rest, **kwargs)
        return optimizer

    @property
    def other_optimizers(self) -> list[torch.optim.Optimizer]:
        """Whose state a checkpoint holds beside `optimizer`."""
        return [self.critic_optimizer]

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * self.config["lr_decay"] ** (epoch_idx / _DECAY_EPOCHS)
        return super()._train_epoch(train_data, epoch_idx, self._step, show_progress)

    def _step(self, batch: Any) -> Tensor:
        """Let the critic learn from a batch, and return the model's loss of it."""
        if self.config["adversarial_weight"]:
            self.critic_optimizer.zero_grad()
            self.model.critic_loss(batch).backward()
            self.critic_optimizer.step()
        loss: Tensor = self.model.calculate_loss(batch)
        return loss
