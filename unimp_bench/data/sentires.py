"""Explanations from files of the Sentires toolkit, in the form in which P5 and UniMP's code use them.

Those are pickles, `reviews_<Category>.pickle`. A pickle can run code when it is opened, so none is opened here: its
owner turns it into JSON lines first, one `{"user", "item", "sentence": [[feature, adjective, sentence, score], …]}` a
line, as `reviews_<Category>.jsonl` or `.jsonl.gz`. The released code draws one of a review's sentences without a seed;
here a keyed hash of (user, item) draws it.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from unimp_bench.data.blocks import blocks
from unimp_bench.data.literals import joined_surrogates
from unimp_bench.data.records import parse_json
from unimp_bench.errors import InputError
from unimp_bench.keyed import string_key
from unimp_bench.progress import Progress, Silent

_NAME = re.compile(r"reviews_(.+?)\.(jsonl(?:\.gz)?|pickle|pkl)")
_CONVERT = (
    "pickles are never opened because they can run code; if you trust it, turn it into JSON lines yourself: "
    "python -c \"import json,pickle,sys; [print(json.dumps(r)) for r in pickle.load(open(sys.argv[1],'rb'))]\" "
    "FILE.pickle > FILE.jsonl"
)
_COLUMNS = {"user_id": pl.String, "item_id": pl.String, "explanation": pl.String}
_ADVICE = 'give {"user": …, "item": …, "sentence": [[feature, adjective, sentence, score], …]} a line'


def _files(folder: Path, domains: set[str]) -> dict[str, Path]:
    """The JSON lines of each domain that has some.

    Raises:
        InputError: no folder, a domain has a pickle only, or no domain has a file.
    """
    if not folder.is_dir():
        raise InputError("no folder of Sentires files", folder, "check --explanations")
    found: dict[str, Path] = {}
    pickles: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and (domain := match[1].lower()) in domains:
            (found if match[2].startswith("jsonl") else pickles).setdefault(domain, path)
    for domain, path in sorted(pickles.items()):
        if domain not in found:
            raise InputError("a pickle", path, _CONVERT)
    if not found:
        wanted = ", ".join(f"reviews_{domain}.jsonl" for domain in sorted(domains))
        raise InputError("no Sentires file for any domain", folder, f"put {wanted} (or .jsonl.gz, any capitals) there")
    return found


def _sentences(record: object) -> tuple[str, str, list[str]] | None:
    """User, item and sentences of a line; None where the line has another form."""
    if not isinstance(record, dict):
        return None
    user, item = record.get("user"), record.get("item")
    entries = record.get("sentence", record.get("sentences")) or []
    if not (isinstance(user, str) and isinstance(item, str) and isinstance(entries, list)):
        return None
    if not all(isinstance(entry, list) and len(entry) > 2 and isinstance(entry[2], str) for entry in entries):
        return None
    tidy = (joined_surrogates(" ".join(entry[2].split())) for entry in entries)
    return joined_surrogates(user), joined_surrogates(item), [sentence for sentence in tidy if sentence]


def _read(path: Path, wanted: pl.DataFrame, seed: int, progress: Progress) -> pl.DataFrame:
    """Columns user_id, item_id, explanation of the wanted pairs, one row a pair (the file's first).

    Raises:
        InputError: a line has another form; names it.
    """
    parts = [pl.DataFrame(schema=_COLUMNS)]
    for block in blocks(path, progress):
        rows = []
        for number, line in block.lines():
            try:
                record = _sentences(parse_json(line))
            except ValueError:
                record = None
            if record is None:
                raise InputError("no Sentires record", path, _ADVICE, number + 1)
            user, item, sentences = record
            if sentences:
                draw = string_key(f"{user}/{item}", "sentires", seed)
                rows.append((user, item, sentences[draw % len(sentences)]))
        part = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
        parts.append(part.join(wanted, on=["user_id", "item_id"], how="semi", maintain_order="left"))
    return pl.concat(parts).unique(["user_id", "item_id"], keep="first", maintain_order=True)


def from_sentires(
    folder: Path, interactions: pl.DataFrame, seed: int = 0, progress: Progress | None = None
) -> pl.DataFrame:
    """The interactions with `explanation` from `reviews_<Category>.jsonl[.gz]`; null where a pair has no sentence.

    A category is a domain's official name. Domains without a file get nulls. A user of a held-out domain
    (`<user>@<domain>`) is looked up by the plain id.

    Raises:
        InputError: no folder, no file for any domain, only a pickle, or a line of another form (named).
    """
    plain = pl.col("user_id").str.strip_suffix(pl.concat_str(pl.lit("@"), "domain")).alias("_user")
    keyed = interactions.with_columns(plain)
    found = [pl.DataFrame(schema={**_COLUMNS, "domain": pl.String})]
    for domain, path in _files(folder, set(interactions["domain"].unique().to_list())).items():
        wanted = keyed.filter(pl.col("domain") == domain).select(pl.col("_user").alias("user_id"), "item_id")
        read = _read(path, wanted, seed, progress or Silent())
        found.append(read.with_columns(pl.lit(domain).alias("domain")))
    table = pl.concat(found).rename({"user_id": "_user"})
    bare = keyed.drop("explanation", strict=False)
    joined = bare.join(table, on=["_user", "item_id", "domain"], how="left", maintain_order="left").drop("_user")
    order = interactions.columns if "explanation" in interactions.columns else [*interactions.columns, "explanation"]
    return joined.select(order)
