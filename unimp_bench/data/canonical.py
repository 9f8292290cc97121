"""From a source's light rows to labelled interactions: apart, deduplicated, cored, ordered, split.

Texts and metadata are asked for only when it is known which rows and items survive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench.config import BuildConfig
from unimp_bench.data.cores import drop_duplicates, k_core
from unimp_bench.data.drops import DropLog
from unimp_bench.data.order import arranged, tie_report
from unimp_bench.data.sources.base import Source
from unimp_bench.data.splits import PROTOCOL_FUNCTIONS
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.progress import Progress
from unimp_bench.schemas import RAW_ITEMS, RAW_TEXTS, SEALED_INTERACTIONS, conform


@dataclass(frozen=True)
class Canonical:
    """Labelled interactions (`schemas.SEALED_INTERACTIONS`, explanations still null), raw items and counts."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    facts: dict[str, Any]


def canonical(source: Source, config: BuildConfig, drops: DropLog, progress: Progress) -> Canonical:
    """Run all stages up to labelled interactions with texts, and the metadata of their items.

    Raises:
        ConfigError: nothing survives the core filter, or nothing is left to train on.
        UnknownNameError: a new domain that the source does not have.
    """
    for name in config.new_domains:
        if name not in source.domains:
            raise UnknownNameError("new domain", name, source.domains)
    if config.new_domains and set(config.new_domains) >= set(source.domains):
        raise ConfigError("every domain is held out as new; name at least one more in --domains")
    rows = source.rows(drops, progress)
    raw_counts = dict(rows.group_by("domain").len().sort("domain").iter_rows())
    rows = _apart(rows, config, drops)
    rows = drop_duplicates(rows, config.duplicates, drops)
    rows, passes = _cored(rows, config, drops, "core")
    items = pl.DataFrame()
    if config.require:
        items = _items(source, rows, drops, progress)
        rows = _required(rows, items, source.pictures(items["item_id"].to_list()), config.require, drops)
        rows, passes = _cored(rows, config, drops, "core after requirements")
    if rows.is_empty():
        raise ConfigError(
            f"none of {sum(raw_counts.values()):,} interactions survives the core filter (users {config.core_user}, "
            f"items {config.core_item}); lower --core, or see with --keep-rejects why rows were dropped"
        )
    progress.say(
        f"{rows.height:,} interactions, {rows['user_id'].n_unique():,} users, {rows['item_id'].n_unique():,} items "
        f"after the ({config.core_user}, {config.core_item})-core in {passes} passes"
    )
    for name in sorted(raw_counts.keys() - set(rows["domain"].unique().to_list())):
        progress.say(f"{name}: none of {raw_counts[name]:,} interactions survives the core filter")
    ordered = arranged(rows, str(config.ties), config.seed)
    ties = tie_report(ordered, str(config.ties))
    labelled = PROTOCOL_FUNCTIONS[config.protocol](ordered, config).drop("person")
    if labelled.filter((pl.col("split") == "train") & (pl.col("cohort") != "new_domain")).is_empty():
        raise ConfigError(
            f"protocol '{config.protocol}' leaves no row to train on among {rows.height:,} interactions; lower --core, "
            "hold out less or choose another --protocol"
        )
    texts = source.texts(labelled.select("domain", "source_row"), progress)
    labelled = labelled.join(
        texts.select(list(RAW_TEXTS)), on=["domain", "source_row"], how="left", maintain_order="left", validate="m:1"
    )
    if items.is_empty():
        items = _items(source, labelled, drops, progress)
    items = items.join(labelled.select("item_id").unique(), on="item_id", how="semi")
    facts = {
        "raw_counts": raw_counts,
        "ties": dataclasses.asdict(ties),
        "core": {"user": config.core_user, "item": config.core_item, "passes": passes},
        "duplicates": config.duplicates,
    }
    final = conform(labelled, SEALED_INTERACTIONS.columns).sort("user_id", "position")
    return Canonical(final, items.sort("item_id"), facts)


def _apart(rows: pl.DataFrame, config: BuildConfig, drops: DropLog) -> pl.DataFrame:
    """Give users their final ids and keep items of the training domains out of new ones.

    `person` is the source's user id. In a new domain the same person is another user, so that nothing of the new
    domain can reach a history of the training domains.
    """
    new = pl.col("domain").is_in(list(config.new_domains))
    known_as = pl.col("user_id") if config.merge_users else pl.format("{}_{}", "user_id", "domain")
    user = pl.when(new).then(pl.format("{}@{}", "user_id", "domain")).otherwise(known_as)
    rows = rows.with_columns(pl.col("user_id").alias("person"), user.alias("user_id"))
    if not config.new_domains:
        return rows
    known = rows.filter(~new)["item_id"].unique()
    return drops.sift(rows, "domains", [("item_of_training_domain", new & pl.col("item_id").is_in(known.implode()))])


def _cored(rows: pl.DataFrame, config: BuildConfig, drops: DropLog, stage: str) -> tuple[pl.DataFrame, int]:
    """The core of the training domains together, and of every new domain on its own."""
    assert config.core_user is not None
    assert config.core_item is not None
    sides = [rows.filter(~pl.col("domain").is_in(list(config.new_domains)))]
    sides += [rows.filter(pl.col("domain") == name) for name in config.new_domains]
    kept, most = [], 0
    for side in sides:
        core, passes = k_core(side, config.core_user, config.core_item)
        for domain, before, after in (
            side.group_by("domain")
            .len("before")
            .join(core.group_by("domain").len("after"), on="domain", how="left")
            .with_columns(pl.col("after").fill_null(0))
            .iter_rows()
        ):
            drops.add(stage, domain, "below_core", before - after)
        kept.append(core)
        most = max(most, passes)
    return pl.concat(kept), most


def _items(source: Source, rows: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
    """Metadata of the rows' items; one that several domains sell belongs to the first of `source.domains`."""
    rank = pl.DataFrame({"domain": list(source.domains), "_rank": range(len(source.domains))})
    wanted = rows.select("item_id", "domain").unique().join(rank, on="domain").sort("_rank", "item_id")
    owner = wanted.unique("item_id", keep="first", maintain_order=True).select("item_id", "domain")
    found = source.items(wanted.select("item_id", "domain"), drops, progress)
    found = found.join(rank, on="domain", how="left").sort("_rank", "item_id", nulls_last=True)
    found = found.unique("item_id", keep="first", maintain_order=True).drop("_rank", "domain")
    missing = owner.height - found.height
    if missing:
        progress.say(f"{missing:,} of {owner.height:,} items have no metadata; they stay, with nulls")
    return conform(owner.join(found, on="item_id", how="left"), RAW_ITEMS)


def _required(
    rows: pl.DataFrame,
    items: pl.DataFrame,
    pictures: Mapping[str, Path] | None,
    require: tuple[str, ...],
    drops: DropLog,
) -> pl.DataFrame:
    """Rows whose item has a title or a picture, as required.

    Where there is a folder of pictures, one must lie there; else an address will do, and whether a picture is behind
    it is known only later.
    """
    addressed = pl.col("image_urls").list.len().fill_null(0) > 0
    held = addressed if pictures is None else pl.col("item_id").is_in(sorted(pictures))
    absent = {"title": pl.col("title").is_null(), "image": ~held}
    checks = []
    for name in require:
        lacking = items.filter(absent[name])["item_id"]
        checks.append((f"item_without_{name}", pl.col("item_id").is_in(lacking.implode())))
    return drops.sift(rows, "requirements", checks)
