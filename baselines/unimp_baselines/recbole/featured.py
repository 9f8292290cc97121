"""What the runners of models with item features share: the names of two encoders.

The parent encodes the catalogue (see `vectors`); in the worker a dataset's `item_features` holds the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unimp_baselines.recbole.runner import RecBoleRunner


@dataclass
class PictureRunner(RecBoleRunner):
    """A model of pictures; `pictures` names an encoder, with the suffix `@shuffled` for the control."""

    pictures: str = "unimp_tower"

    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})

    def encoders(self) -> dict[str, str]:
        """The encoder of pictures."""
        return {"image": self.pictures}


@dataclass
class FeatureRunner(PictureRunner):
    """A model of texts and pictures."""

    text: str = "tfidf_svd"

    needs: ClassVar[frozenset[str]] = frozenset({"pictures", "text"})

    def encoders(self) -> dict[str, str]:
        """The encoders of both."""
        return {**super().encoders(), "text": self.text}
