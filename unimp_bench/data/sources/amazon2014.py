"""Amazon 2014 (He & McAuley 2016): reviews as JSON lines, metadata as Python dict literals, times in whole days."""

from __future__ import annotations

from functools import partial
from typing import Any

from unimp_bench.data import values
from unimp_bench.data.records import Record
from unimp_bench.data.sources import dumps

COLUMNS = dumps.Columns("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText", seconds=1)


def fields(record: Record) -> dict[str, Any]:
    """A metadata record as fields of `schemas.RAW_ITEMS`; `related` and `salesRank` are left out on purpose.

    Both say what others bought: they would leak popularity and co-purchases of the test period into the items.
    """
    return {
        "title": values.name(record.get("title")),
        "brand": values.name(record.get("brand")),
        "categories": values.best_path(record.get("categories")),
        "price_usd": values.price_usd(record.get("price")),
        "description": values.description(record.get("description")),
        "image_urls": values.urls(record.get("imUrl")),
    }


# `reviews_<Official>_5.json.gz` and `meta_<Official>.json.gz` a domain.
Amazon2014 = partial(dumps.Dumps, dumps.Layout("2014", "asin", COLUMNS, fields))
