"""Amazon 2023 (Hou et al. 2024): JSON lines, products grouped under `parent_asin`, times in milliseconds."""

from __future__ import annotations

from functools import partial
from typing import Any

from unimp_bench.data import values
from unimp_bench.data.records import Record
from unimp_bench.data.sources import dumps

COLUMNS = dumps.Columns("user_id", "parent_asin", "rating", "timestamp", "title", "text", seconds=1e-3)
_LEFT_OUT = ("ASIN", "ISBN", "UPC", "BEST SELLERS RANK", "CUSTOMER REVIEWS", "BRAND")


def _pictures(images: object) -> list[str]:
    """Addresses of the main picture first, each in its largest size."""
    found = [one for one in images if isinstance(one, dict)] if isinstance(images, list) else []
    found.sort(key=lambda one: one.get("variant") != "MAIN")  # stable: others keep their order
    return values.urls(*(next((one[k] for k in ("hi_res", "large", "thumb") if one.get(k)), None) for one in found))


def _pairs(record: Record) -> list[tuple[object, object]]:
    details = record.get("details")
    named = list(details.items()) if isinstance(details, dict) else []
    kept = [(name, value) for name, value in named if not str(name).strip().upper().startswith(_LEFT_OUT)]
    features = record.get("features")
    listed = [(f"Feature {n}", one) for n, one in enumerate(features if isinstance(features, list) else [], 1)]
    return [*kept, ("Department", record.get("main_category")), *listed]


def fields(record: Record) -> dict[str, Any]:
    """A metadata record as fields of `schemas.RAW_ITEMS`.

    `average_rating`, `rating_number` and `bought_together` are left out on purpose: they tell of the test period.
    """
    details = record.get("details")
    brand = details.get("Brand") if isinstance(details, dict) else None
    return {
        "title": values.name(record.get("title")),
        "brand": values.name(brand) or values.name(record.get("store")),
        "categories": values.path(record.get("categories")),
        "price_usd": values.price_usd(record.get("price")),
        "description": values.description(record.get("description")),
        "attributes": values.attributes(_pairs(record)),
        "image_urls": _pictures(record.get("images")),
    }


# `<Official>.jsonl.gz` and `meta_<Official>.jsonl.gz` a domain.
Amazon2023 = partial(dumps.Dumps, dumps.Layout("2023", "parent_asin", COLUMNS, fields))
