"""Item features: what an item's text or picture says, as one row of numbers, by a named encoder, cached on disk."""

from unimp_bench.features.making import Made, check_digest, ensure, features_of_fit, item_features
from unimp_bench.features.protocol import Encoder, ItemFeatures

__all__ = ["Encoder", "ItemFeatures", "Made", "check_digest", "ensure", "features_of_fit", "item_features"]
