"""Item features: what an item's text or picture says, as one row of numbers, by a named encoder, cached on disk."""

from unimp_bench.features.making import Made, ensure, item_features
from unimp_bench.features.protocol import Encoder, ItemFeatures

__all__ = ["Encoder", "ItemFeatures", "Made", "ensure", "item_features"]
