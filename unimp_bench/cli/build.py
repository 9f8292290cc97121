"""`unimp-bench build`: raw shop data in, a dataset folder out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimp_bench.cli.console import BarProgress, err, out

if TYPE_CHECKING:
    from unimp_bench.dataset import Dataset
    from unimp_bench.pipeline import Request

_RELEASES = ("2014", "2018", "2023")
_SOURCES = ("amazon", "hm", "files", "synthetic")
_INPUT = "Input"
_PROTOCOL = "Protocol"
_TASKS = "Tasks"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def build(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="amazon, hm, files or synthetic")],
    release: Annotated[str, typer.Option(help="amazon: 2014, 2018 or 2023", rich_help_panel=_INPUT)] = "2014",
    domains: Annotated[
        str, typer.Option(help="amazon: comma-separated; default: the paper's six and Office", rich_help_panel=_INPUT)
    ] = "",
    raw: Annotated[
        Path | None, typer.Option(help="folder of raw files; else downloaded", rich_help_panel=_INPUT)
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="files: CSV, JSONL, Parquet", rich_help_panel=_INPUT)
    ] = None,
    items: Annotated[Path | None, typer.Option(help="files: metadata of items", rich_help_panel=_INPUT)] = None,
    images: Annotated[
        Path | None, typer.Option(help="folder of pictures named by item id", rich_help_panel=_INPUT)
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="files: NAME=COLUMN of the file, repeated", rich_help_panel=_INPUT)
    ] = None,
    fetch_images: Annotated[
        bool | None,
        typer.Option(help="download pictures (default: only when the raw files are)", rich_help_panel=_INPUT),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option(help="allow downloads from private addresses", rich_help_panel=_INPUT)
    ] = False,
    explanations: Annotated[
        Path | None, typer.Option(help="folder of Sentires sentences as JSON lines", rich_help_panel=_INPUT)
    ] = None,
    item_level: Annotated[str, typer.Option(help="hm: product or article", rich_help_panel=_INPUT)] = "product",
    size: Annotated[str, typer.Option(help="synthetic: tiny, small or large", rich_help_panel=_INPUT)] = "small",
    name: Annotated[str | None, typer.Option(help="name of the dataset")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; flags win over it")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="paper, leave_last_out, official_code, global_time", rich_help_panel=_PROTOCOL)
    ] = None,
    core: Annotated[
        str | None, typer.Option(help="least interactions: N, or USER,ITEM", rich_help_panel=_PROTOCOL)
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="drop items without: title,image", rich_help_panel=_PROTOCOL)
    ] = None,
    new_domains: Annotated[
        str | None, typer.Option(help="domains held out whole; 'none' for none", rich_help_panel=_PROTOCOL)
    ] = None,
    merge_users: Annotated[
        bool | None, typer.Option(help="one history a person over all domains", rich_help_panel=_PROTOCOL)
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="first or last of equal (user, item)", rich_help_panel=_PROTOCOL)
    ] = None,
    ties: Annotated[str | None, typer.Option(help="hash, source_order or item_id", rich_help_panel=_PROTOCOL)] = None,
    seed: Annotated[int | None, typer.Option(help="of ties, holdouts, draws", rich_help_panel=_PROTOCOL)] = None,
    prompts: Annotated[str | None, typer.Option(help="paper or official_code", rich_help_panel=_TASKS)] = None,
    query: Annotated[str | None, typer.Option(help="ai2017 or official_code", rich_help_panel=_TASKS)] = None,
    candidates: Annotated[int | None, typer.Option(help="selection: candidates", rich_help_panel=_TASKS)] = None,
    hardness: Annotated[
        str | None, typer.Option(help="selection: random, same_category, same_brand", rich_help_panel=_TASKS)
    ] = None,
    noise: Annotated[
        list[str] | None, typer.Option(help="add a variant: NT, NV, or NT=0.4; repeated", rich_help_panel=_TASKS)
    ] = None,
    lean: Annotated[
        bool | None, typer.Option("--lean", help="leave out the text of train rows", rich_help_panel=_TASKS)
    ] = None,
    keep_rejects: Annotated[bool, typer.Option("--keep-rejects", help="write dropped rows aside")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be read and written")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a dataset of the same name")] = False,
) -> None:
    """Build a dataset: six tasks, splits, pictures and a data card from raw shop data.

    Example:
        unimp-bench build synthetic --size small
        unimp-bench build hm --raw h-and-m/ --item-level product --core 3
        unimp-bench build amazon --release 2018 --domains gift_cards --raw dumps/
    """
    from unimp_bench.data.opening import Places
    from unimp_bench.errors import ConfigError, UnknownNameError
    from unimp_bench.pipeline import build as build_dataset

    if source not in _SOURCES:
        raise UnknownNameError("source", source, _SOURCES)
    if release not in _RELEASES:
        raise UnknownNameError("release", release, _RELEASES)
    mapping = {key: value for key, _, value in (pair.partition("=") for pair in column or [])}
    if "" in mapping.values():
        raise ConfigError("--column wants NAME=COLUMN, for example --column user_id=customer")
    flags: dict[str, Any] = {
        "protocol": protocol,
        "require": _listed(require) if require is not None else None,
        "merge_users": merge_users,
        "duplicates": duplicates,
        "ties": ties,
        "seed": seed,
        "prompts": prompts,
        "query": query,
        "candidates": candidates,
        "hardness": hardness,
        "lean": lean,
        "core": core,
        "new_domains": new_domains,
    }
    places = Places(raw, interactions, items, images, _listed(domains), item_level, mapping)
    with BarProgress() as progress:
        request = _request(
            source, release, size, name, places, _config(flags, config), noise or [], ctx.obj, progress, dry_run
        )
        changes = {
            "fetch_images": (raw is None and source == "amazon") if fetch_images is None else fetch_images,
            "allow_private": allow_private,
            "keep_rejects": keep_rejects,
            "explanations": explanations,
        }
        request = _replaced(request, **changes)
        if dry_run:
            _explain(request, ctx.obj.dataset(request.name))
            return
        err.print(f"building {request.name}", style="bold")
        dataset = build_dataset(ctx.obj, request, force=force, progress=progress)
    _summary(dataset)


def _replaced(request: Request, **changes: Any) -> Request:
    import dataclasses

    return dataclasses.replace(request, **changes)


def _config(flags: dict[str, Any], file: Path | None) -> Callable[[tuple[str, ...]], Any]:
    """A function from the source's own new domains to the config: flags over file over defaults."""
    from unimp_bench.config import from_mapping, read_toml
    from unimp_bench.errors import ConfigError

    values = read_toml(file) if file is not None else {}
    values = {k: v for k, v in values.items() if k not in ("source", "domains")}
    core, held_out = flags.pop("core"), flags.pop("new_domains")
    values.update({key: list(v) if isinstance(v, tuple) else v for key, v in flags.items() if v is not None})
    if core is not None:
        numbers = core.split(",")
        if len(numbers) > 2 or not all(n.strip().isdigit() for n in numbers):
            raise ConfigError(f"--core is '{core}'; wanted a number, or USER,ITEM")
        values["core_user"], values["core_item"] = int(numbers[0]), int(numbers[-1])
    if held_out is not None:
        values["new_domains"] = [] if held_out == "none" else list(_listed(held_out))

    def with_default(new_domains: tuple[str, ...]) -> Any:
        return from_mapping({"new_domains": list(new_domains), **values}, str(file or "flags"))

    return with_default


def _request(
    source: str,
    release: str,
    size: str,
    name: str | None,
    places: Any,
    config: Callable[[tuple[str, ...]], Any],
    noise: list[str],
    home: Any,
    progress: BarProgress,
    dry_run: bool,
) -> Request:
    """Fill in what the source decides by itself: domains, name, downloaded or generated raw files."""
    import dataclasses

    from unimp_bench.data.opening import PAPER_DOMAINS, PAPER_NEW_DOMAIN
    from unimp_bench.pipeline import Request

    variants = tuple(_variant(text) for text in noise)
    truth: Path | None = None
    held_out: tuple[str, ...] = ()
    own_name, kind = source, source
    if source in ("amazon", "synthetic"):
        from unimp_bench.data.sources import addresses

        kind = "synthetic" if source == "synthetic" else f"amazon{release}"
        chosen = addresses.domains(release, places.domains) if places.domains else (*PAPER_DOMAINS, PAPER_NEW_DOMAIN)
        if PAPER_NEW_DOMAIN in chosen and len(chosen) > 1:
            held_out = (PAPER_NEW_DOMAIN,)
        own_name = kind if not places.domains else f"{kind}-{'-'.join(chosen)}"
        places = dataclasses.replace(places, domains=chosen)
    resolved = config(held_out)
    if source == "synthetic":
        # The shop itself is frozen: --seed changes ties, holdouts and draws, never the raw data.
        raw, own_name = home.raw(f"synthetic-{size}"), f"synthetic-{size}"
        if not dry_run:
            from unimp_bench.data.sources.synthetic import write_shop

            write_shop(raw, size, 0, progress)
            truth = raw / "truth"
        places = dataclasses.replace(places, raw=raw)
    elif source == "amazon" and places.raw is None:
        raw = home.raw(kind)
        if not dry_run:
            from unimp_bench.data.download import fetch
            from unimp_bench.data.sources.addresses import remotes

            fetch(remotes(release, places.domains), raw, progress)
        places = dataclasses.replace(places, raw=raw)
    return Request(kind, name or own_name, places, resolved, noise=variants, truth=truth)


def _variant(text: str) -> tuple[str, float]:
    """`NT` or `NV=0.4` as kind and rate; the rate of the paper is 0.2."""
    from unimp_bench.errors import ConfigError

    kind, _, rate = text.partition("=")
    try:
        return kind, float(rate or 0.2)
    except ValueError:
        raise ConfigError(f"--noise is '{text}'; wanted NT, NV, or a kind and rate such as NT=0.4") from None


def _explain(request: Request, folder: Path) -> None:
    """What a build would do, without doing it."""
    resolved = request.config.resolved()
    out.print(f"source    {request.source}", markup=False)
    out.print(f"domains   {', '.join(request.places.domains) or '-'}", markup=False)
    out.print(f"raw       {request.places.raw or request.places.interactions}", markup=False)
    out.print(f"into      {folder}", markup=False)
    for key, value in resolved.request().items():
        out.print(f"{key:<16} {value}", markup=False)


def _summary(dataset: Dataset) -> None:
    """Counts of the built dataset on stdout."""
    from unimp_bench.tasks.spec import TASKS

    facts = dataset.manifest.facts
    counts, splits = facts["counts"], facts["splits"]
    amounts = ", ".join(f"{counts[what]:,} {what}" for what in ("interactions", "users", "items"))
    out.print(f"{dataset.name}: {amounts} ({sum(facts['raw_counts'].values()):,} rows read)", markup=False)
    out.print(f"  splits   {', '.join(f'{name} {n:,}' for name, n in splits.items())}", markup=False)
    out.print(f"  cohorts  {', '.join(f'{name} {n:,} users' for name, n in facts['cohorts'].items())}", markup=False)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in facts["coverage"].items())
    out.print(f"  coverage {shares}", markup=False)
    for task in (name for name in TASKS if name in facts["tasks"]):
        rows = facts["tasks"][task]["rows"]
        out.print(
            f"  {task:<17} train {rows['train']:>8,}  valid {rows['valid']:>7,}  test {rows['test']:>7,}", markup=False
        )
    for task, reason in facts["skipped_tasks"].items():
        out.print(f"  {task:<17} not built: {reason}", markup=False)
    out.print(f"  in {dataset.folder}", markup=False)
