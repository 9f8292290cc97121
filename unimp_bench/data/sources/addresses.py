"""Official names, file names and addresses of the Amazon releases.

2014: He & McAuley 2016, served by SNAP. 2018: Ni, Li & McAuley 2019; 2023: Hou et al. 2024, both served by the McAuley
lab, whose host has moved twice (jmcauley.ucsd.edu, datarepo.eng.ucsd.edu, mcauleylab.ucsd.edu): the newest stands here.
No release publishes checksums. 2014 and 2018 are fetched as 5-core reviews; 2023 has no 5-core with texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unimp_bench.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from unimp_bench.data.download import Remote

_LAB = "https://mcauleylab.ucsd.edu/public_datasets/data"
_SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

_COMMON = (
    *("Automotive", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry"),
    *("Digital_Music", "Electronics", "Grocery_and_Gourmet_Food", "Home_and_Kitchen", "Kindle_Store", "Movies_and_TV"),
    *("Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Sports_and_Outdoors"),
    *("Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games"),
)
_SINCE_2018 = (
    *("All_Beauty", "Appliances", "Arts_Crafts_and_Sewing", "Gift_Cards", "Industrial_and_Scientific"),
    *("Magazine_Subscriptions", "Software"),
)


@dataclass(frozen=True)
class Release:
    """One release: its domains by official name, its file names in the order of preference, its addresses."""

    official: tuple[str, ...]
    reviews: tuple[str, ...]  # file names without ".gz"; {} is the official name
    metadata: tuple[str, ...]
    reviews_address: str
    metadata_address: str


RELEASES: Mapping[str, Release] = {
    "2014": Release(
        (*_COMMON, "Amazon_Instant_Video", "Apps_for_Android", "Baby", "Beauty", "Health_and_Personal_Care"),
        ("reviews_{}_5.json", "reviews_{}.json"),
        ("meta_{}.json",),
        f"{_SNAP}/reviews_{{}}_5.json.gz",
        f"{_SNAP}/meta_{{}}.json.gz",
    ),
    "2018": Release(
        (*_COMMON, *_SINCE_2018, "AMAZON_FASHION", "Luxury_Beauty", "Prime_Pantry"),
        ("{}_5.json", "{}.json"),
        ("meta_{}.json", "older_schema_meta_{}.json"),
        f"{_LAB}/amazon_v2/categoryFilesSmall/{{}}_5.json.gz",
        f"{_LAB}/amazon_v2/metaFiles2/meta_{{}}.json.gz",
    ),
    "2023": Release(
        (
            *(*_COMMON, *_SINCE_2018, "Amazon_Fashion", "Baby_Products", "Beauty_and_Personal_Care"),
            *("Handmade_Products", "Health_and_Household", "Health_and_Personal_Care", "Subscription_Boxes", "Unknown"),
        ),
        ("{}.jsonl",),
        ("meta_{}.jsonl",),
        f"{_LAB}/amazon_2023/raw/review_categories/{{}}.jsonl.gz",
        f"{_LAB}/amazon_2023/raw/meta_categories/meta_{{}}.jsonl.gz",
    ),
}
_ALIASES: Mapping[str, tuple[str, ...]] = {  # the first that the release has
    "baby": ("baby", "baby_products"),
    "beauty": ("beauty", "all_beauty"),
    "cds": ("cds_and_vinyl",),
    "cell_phones": ("cell_phones_and_accessories",),
    "clothing": ("clothing_shoes_and_jewelry",),
    "fashion": ("amazon_fashion",),
    "grocery": ("grocery_and_gourmet_food",),
    "health": ("health_and_personal_care", "health_and_household"),
    "home": ("home_and_kitchen",),
    "movies": ("movies_and_tv",),
    "office": ("office_products",),
    "sports": ("sports_and_outdoors",),
    "tools": ("tools_and_home_improvement",),
    "toys": ("toys_and_games",),
}


def release(name: str) -> Release:
    """The release of that year.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in RELEASES:
        raise UnknownNameError("release", name, RELEASES)
    return RELEASES[name]


def domain_key(year: str, name: str) -> str:
    """Official name of a domain, given as itself, in snake case or as an alias.

    Raises:
        UnknownNameError: the release has no such domain.
    """
    official = {one.lower(): one for one in release(year).official}
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    for candidate in (key, *_ALIASES.get(key, ())):
        if candidate in official:
            return official[candidate]
    raise UnknownNameError(f"Amazon {year} domain", name, official)


def domains(year: str, names: Iterable[str]) -> tuple[str, ...]:
    """Domain names as datasets carry them (snake case), each once, in the order given.

    Raises:
        UnknownNameError: the release has no such domain.
        ConfigError: none is given.
    """
    found = tuple(dict.fromkeys(domain_key(year, name).lower() for name in names))
    if not found:
        raise ConfigError(f"no domain given for Amazon {year}; name some with --domains")
    return found


def remotes(year: str, names: Iterable[str]) -> list[Remote]:
    """Addresses of the reviews and metadata of those domains; errors as in `domains`."""
    from unimp_bench.data.download import Remote  # late: who reads a local folder needs no network library

    found: list[Remote] = []
    for name in domains(year, names):
        official = domain_key(year, name)
        for address in (release(year).reviews_address, release(year).metadata_address):
            url = address.format(official)
            found.append(Remote(url=url, name=url.rsplit("/", 1)[-1]))
    return found
