"""Amazon 2018 (Ni, Li & McAuley 2019): reviews and metadata as JSON lines; two metadata schemas are in the wild."""

from __future__ import annotations

from functools import partial
from typing import Any

from unimp_bench.data import values
from unimp_bench.data.records import Record
from unimp_bench.data.sources import dumps

COLUMNS = dumps.Columns("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText", seconds=1)
_IDENTIFIERS = ("ASIN", "ISBN", "UPC", "ITEM MODEL", "AMAZON BEST SELLERS", "CUSTOMER REVIEWS", "AVERAGE CUSTOMER")


def _pairs(record: Record) -> list[tuple[object, object]]:
    """Named details, then the sales department and the short features, which have no names of their own."""
    details = record.get("details")
    named = list(details.items()) if isinstance(details, dict) else []
    kept = [(name, value) for name, value in named if not str(name).strip(" :\n").upper().startswith(_IDENTIFIERS)]
    features = record.get("feature")
    listed = [(f"Feature {n}", one) for n, one in enumerate(features if isinstance(features, list) else [], 1)]
    return [*kept, ("Department", record.get("main_cat")), *listed]


def fields(record: Record) -> dict[str, Any]:
    """A metadata record of either schema as fields of `schemas.RAW_ITEMS`.

    The newer schema has `imageURLHighRes` and `imageURL`, the older one `image`; the `category` list is one path.
    `rank`, `also_buy` and `also_view` are left out on purpose: they tell of the test period.
    """
    return {
        "title": values.name(record.get("title")),
        "brand": values.name(record.get("brand")),
        "categories": values.path(record.get("category")),
        "price_usd": values.price_usd(record.get("price")),
        "description": values.description(record.get("description")),
        "attributes": values.attributes(_pairs(record)),
        "image_urls": values.urls(record.get("imageURLHighRes"), record.get("imageURL"), record.get("image")),
    }


# `<Official>_5.json.gz` and `meta_<Official>.json.gz`, else `older_schema_meta_<Official>.json.gz`, a domain.
Amazon2018 = partial(dumps.Dumps, dumps.Layout("2018", "asin", COLUMNS, fields))
