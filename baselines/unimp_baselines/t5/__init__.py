"""P5 and VIP5: recommendation, rating, explanation and selection as text in and text out of one T5."""

from unimp_baselines.t5.runner import P5, VIP5

__all__ = ["P5", "VIP5"]
