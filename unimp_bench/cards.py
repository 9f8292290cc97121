"""Data cards: what a built dataset is, as Markdown with the front matter by which Hugging Face `datasets` opens it.

Everything is generated from the manifest, the drop log and the audit; nothing depends on the clock or on where the
input stood, so equal builds have equal cards. One configuration a task holds all three splits: `datasets` takes the
columns of the train file and gives the test rows, whose answers are sealed, nulls in the answer columns.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unimp_bench import tables
from unimp_bench.dataset import Dataset
from unimp_bench.published import PAPER, PUBLIC_5_CORE
from unimp_bench.schemas import DROPS

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # ours to Hugging Face's
_CATEGORIES = {
    "search": "text-ranking",
    "explanation": "text-generation",
    "image_generation": "text-to-image",
    "recommendation": "image-text-to-text",
    "selection": "image-text-to-text",
    "preference": "image-text-to-text",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LICENCE = (
    "Reviews, ratings, titles and pictures belong to their authors and to the shops that published them. The terms of "
    "the source allow research use; do not redistribute the data or anything that quotes it at length, and do not try "
    "to find out who a user is."
)
_SYNTHETIC_LICENCE = "Everything here is generated; it quotes nobody and may be used for anything."


class Finding(Protocol):
    """A check of the audit, as the card needs it."""

    @property
    def name(self) -> str:
        """What was checked."""

    @property
    def status(self) -> str:
        """`pass`, `fail` or `info`."""

    @property
    def value(self) -> float | int | str:
        """The figure."""

    @property
    def detail(self) -> str:
        """One line about it."""


def card(dataset: Dataset, checks: Sequence[Finding] = ()) -> str:
    """The data card of a dataset whose files are written; its manifest may still be in memory only."""
    sections = (_summary, _counts, _splits, _quality, _drops, _tasks, _use, _made, _limits)
    body = [section(dataset) for section in sections]
    body.insert(6, _audit(checks))
    return _front_matter(dataset) + "\n" + "\n".join(part for part in body if part)


def card_facts(dataset: Dataset, checks: Sequence[Finding] = ()) -> dict[str, Any]:
    """The same facts as plain data, for `data_cards/<dataset>.json`."""
    manifest = dataset.manifest
    published = {
        domain: {
            "paper_table_5": dataclasses.asdict(PAPER[domain]),
            "public_2014_5_core": dataclasses.asdict(PUBLIC_5_CORE[domain]),
        }
        for domain in manifest.facts["counts"]["by_domain"]
        if domain in PAPER
    }
    return {
        "name": dataset.name,
        "id": manifest.id,
        "facts": dict(manifest.facts),
        "published": published,
        "drops": tables.read(dataset.folder / "drops.parquet", DROPS).to_dicts(),
        "audit": [{"name": c.name, "status": c.status, "value": _plain(c.value), "detail": c.detail} for c in checks],
        "inputs": [{"file": _base(name), "sha256": value} for name, value in sorted(manifest.inputs.items())],
    }


def _plain(value: float | int | str) -> float | int | str:
    return value if isinstance(value, int | str) else float(value)


def _base(name: str) -> str:
    """A raw file's own name, without the place where it stood."""
    return Path(name).name + ("/" if name.endswith("/") else "")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"  # noqa: RUF001
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _front_matter(dataset: Dataset) -> str:
    """YAML, written as JSON values, which every YAML reader takes."""
    facts = dataset.manifest.facts
    rows = int(facts["counts"]["interactions"])
    size = next((name for limit, name in _SIZES if rows < limit), "1M<n<10M" if rows < 10_000_000 else "10M<n<100M")
    categories = list(dict.fromkeys(_CATEGORIES[task] for task in dataset.tasks))
    lines = [
        f"pretty_name: {json.dumps(f'unimp-bench {dataset.name}')}",
        "license: other",
        "license_name: research-use",
        f"task_categories: {json.dumps(categories)}",
        f"size_categories: {json.dumps([size])}",
        'tags: ["recommendation", "personalization", "multi-modal", "unimp-bench"]',
        "configs:",
    ]
    for name, files in _configs(dataset).items():
        first = "  default: true\n" if name == next(iter(dataset.tasks), None) else ""
        lines.append(f"- config_name: {name}\n{first}  data_files:")
        lines += [f"  - split: {split}\n    path: {json.dumps(path)}" for split, path in files.items()]
    return "---\n" + "\n".join(lines) + "\n---\n"


def _configs(dataset: Dataset) -> Mapping[str, Mapping[str, str]]:
    """Configuration to split to file; train first, because its columns rule the others."""
    configs: dict[str, dict[str, str]] = {}
    for task, about in dataset.tasks.items():
        rows = about["rows"]
        files = {
            _SPLITS[split]: f"visible/tasks/{task}/{split}.examples.parquet" for split in _SPLITS if rows.get(split)
        }
        if files:
            configs[task] = files
    configs["interactions"] = {"train": "visible/interactions.parquet"}
    configs["items"] = {"train": "visible/items.parquet"}
    if any((dataset.folder / "visible").glob("images-*.parquet")):
        configs["images"] = {"train": "visible/images-*.parquet"}
    return configs


def _summary(dataset: Dataset) -> str:
    facts, counts = dataset.manifest.facts, dataset.manifest.facts["counts"]
    tasks = ", ".join(dataset.tasks) or "none"
    return (
        f"# {dataset.name}\n\n"
        f"{counts['interactions']:,} interactions of {counts['users']:,} users with {counts['items']:,} items from "
        f"source `{facts['source']}`, as instruction sets for {len(dataset.tasks)} personalization tasks ({tasks}). "
        f"Made by unimp-bench; generated from the manifest, not written by hand.\n"
    )


def _counts(dataset: Dataset) -> str:
    facts = dataset.manifest.facts
    raw = facts.get("raw_counts", {})
    rows, known = [], False
    counted = facts["counts"]["by_domain"]
    for domain in sorted({*counted, *raw}):  # one of which nothing survived is still one that was read
        here = counted.get(domain, {"users": 0, "items": 0, "interactions": 0})
        paper, public = PAPER.get(domain), PUBLIC_5_CORE.get(domain)
        known |= paper is not None
        held = f"{domain} (held out)" if domain in dataset.new_domains else domain
        own = f"{here['users']:,} / {here['items']:,} / {here['interactions']:,}"
        others = [f"{s.users:,} / {s.items:,} / {s.interactions:,}" if s else None for s in (paper, public)]
        rows.append((held, raw.get(domain), own, *others))
    header = ["domain", "rows read", "here: users / items / interactions"]
    header += ["paper, table 5", "public 2014 5-core"] if known else []
    text = "## Counts\n\n" + _table(header, (row[: len(header)] for row in rows))
    if known:
        text += (
            "\nTable 5 of the UniMP paper counts more than the public 5-core files in every domain, so it cannot come "
            "from filtering them; neither column is a target that a build should meet.\n"
        )
    core = facts["core"]
    return text + (
        f"\nCore filter: every user has at least {core['user']} and every item at least {core['item']} interactions, "
        f"iterated to a fixed point. Of several rows of one user and item the {facts['duplicates']} is kept.\n"
    )


def _splits(dataset: Dataset) -> str:
    facts = dataset.manifest.facts
    new = ", ".join(sorted(dataset.new_domains)) or "none"
    return (
        f"## Splits\n\nProtocol `{facts['protocol']}`, seed {facts['seed']}, split hash `{facts['split_hash']}`, "
        f"held-out domains: {new}. One split serves all tasks.\n\n"
        + _table(("split", "interactions"), facts.get("splits", {}).items())
        + "\n"
        + _table(("cohort", "users"), facts.get("cohorts", {}).items())
    )


def _quality(dataset: Dataset) -> str:
    facts = dataset.manifest.facts
    ties = facts.get("ties", {})
    ascending = ties.get("ascending_by_id")
    shares = [(name, f"{share:.1%}") for name, share in facts.get("coverage", {}).items()]
    said = "no equal-time steps"
    if ascending is not None:
        said = f"{ascending:.1%} of equal-time steps ascend by item id, 50 % by chance"
    header = ("present", "share of items or interactions")
    text = (
        f"## Quality\n\nTies: {ties.get('rate', 0):.1%} of rows share their time with another row of the same user; "
        f"rule `{ties.get('rule', 'none')}` ({said}).\n\n" + _table(header, shares)
    )
    extractor = facts.get("explanations", {}).get("extractor")
    if extractor:
        text += f"\nExplanations are sentences of the reviews, chosen by `{extractor}`.\n"
    return text + "\n" + _table(("picture", "items"), facts.get("image_status", {}).items())


def _drops(dataset: Dataset) -> str:
    drops = tables.read(dataset.folder / "drops.parquet", DROPS)
    if drops.height == 0:
        return "## Dropped rows\n\nNone.\n"
    return "## Dropped rows\n\n" + _table(("stage", "domain", "reason", "rows"), drops.iter_rows())


def _tasks(dataset: Dataset) -> str:
    rows = [
        (task, f"{about['version']}", about["prompts"], *(about["rows"].get(split, 0) for split in _SPLITS))
        for task, about in dataset.tasks.items()
    ]
    text = "## Tasks\n\n" + _table(("task", "version", "prompts", *_SPLITS), rows)
    if fields := [label for label, _ in dataset.manifest.facts.get("item_text", ())]:
        text += f"\nPrompts say of an item: {', '.join(fields)}.\n"
    skipped = dataset.manifest.facts.get("skipped_tasks", {})
    return text + "".join(f"\nNo {task}: {reason}.\n" for task, reason in skipped.items())


def _audit(checks: Sequence[Finding]) -> str:
    if not checks:
        return ""
    rows = [(c.name, c.status, _value(c.value), c.detail) for c in checks]
    return "## Leak checks\n\n" + _table(("check", "result", "value", "detail"), rows)


def _value(value: float | int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value


def _use(dataset: Dataset) -> str:
    task = next(iter(dataset.tasks), "items")
    return (
        "## Use\n\n```python\nfrom datasets import load_dataset\n\n"
        f'examples = load_dataset("<this folder>", "{task}")  # train, validation, test\n'
        'items = load_dataset("<this folder>", "items", split="train")\n```\n\n'
        "Train and validation rows carry their answers (`item_ids`, `rating`, `text`, `response`); in the test split "
        "these columns are null, because the answers lie apart under `sealed/` for scoring alone. The configurations "
        "`interactions` and `items` are whole tables under the split name `train`"
        + ("; `images` decodes to PIL pictures by `image_id`" if "images" in _configs(dataset) else "")
        + ".\n"
    )


def _made(dataset: Dataset) -> str:
    manifest = dataset.manifest
    config = dataset.folder / "config.toml"
    text = f"## How it was made\n\nBuild `{manifest.id}`"
    text += f" with unimp-bench {manifest.versions.get('unimp-bench', '?')}, `config.toml`:\n\n"
    text += f"```toml\n{config.read_text()}```\n" if config.is_file() else ""
    inputs = [(_base(name), value) for name, value in sorted(manifest.inputs.items())]
    return text + ("\n" + _table(("raw file", "SHA-256"), inputs) if inputs else "")


def _limits(dataset: Dataset) -> str:
    facts = dataset.manifest.facts
    limits = [
        "Only bought or reviewed items are known; an item that a user would have liked and never met counts as wrong.",
        "Negatives of selection are items without an interaction, not items that were refused.",
    ]
    if facts["protocol"] in ("paper", "leave_last_out"):
        limits.append("Leave-last-out lets training see other users' later events; the leak checks say how often.")
    if facts.get("coverage", {}).get("image", 0) < 1:
        limits.append("Items without a picture stay, with no picture; systems that need one see a gap.")
    if cold := facts.get("cold_items"):
        limits.append(f"{cold:,} items of the catalogue occur in no training interaction.")
    licence = _SYNTHETIC_LICENCE if facts["source"] == "synthetic" else _LICENCE
    return "## Limits\n\n" + "".join(f"- {line}\n" for line in limits) + f"\n## Licence\n\n{licence}\n"
