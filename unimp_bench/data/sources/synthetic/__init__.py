"""A small shop with a known truth, written as raw dumps in the exact form of Amazon 2014.

Frozen: a change of anything drawn here is another `GENERATOR_VERSION` and another dataset name.
"""

from unimp_bench.data.sources.synthetic.shop import write_shop
from unimp_bench.data.sources.synthetic.world import GENERATOR_VERSION, SIZES, Size

__all__ = ["GENERATOR_VERSION", "SIZES", "Size", "write_shop"]
