"""Published sizes of the paper's seven domains, to set beside what a build counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Users, items and interactions of a domain."""

    users: int
    items: int
    interactions: int


# UniMP (Wei et al., ICLR 2024), table 5.
PAPER: Mapping[str, Size] = {
    "baby": Size(19_822, 7_776, 163_856),
    "beauty": Size(25_837, 16_893, 227_920),
    "clothing_shoes_and_jewelry": Size(58_197, 44_310, 422_474),
    "grocery_and_gourmet_food": Size(16_318, 11_581, 165_893),
    "sports_and_outdoors": Size(40_358, 24_766, 334_238),
    "toys_and_games": Size(24_314, 18_906, 209_281),
    "office_products": Size(6_913, 4_775, 68_306),
}

# The public Amazon 2014 5-core review files, as OpenP5, P5 and MMSSL report them; reviews of Baby and all of
# Grocery and Office are commonly quoted figures that nobody here has counted.
PUBLIC_5_CORE: Mapping[str, Size] = {
    "baby": Size(19_445, 7_050, 160_792),
    "beauty": Size(22_363, 12_101, 198_502),
    "clothing_shoes_and_jewelry": Size(39_387, 23_033, 278_677),
    "grocery_and_gourmet_food": Size(14_681, 8_713, 151_254),
    "sports_and_outdoors": Size(35_598, 18_357, 296_337),
    "toys_and_games": Size(19_412, 11_924, 167_597),
    "office_products": Size(4_905, 2_420, 53_258),
}
