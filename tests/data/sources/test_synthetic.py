from __future__ import annotations

import ast
import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from unimp_bench.data.drops import DropLog
from unimp_bench.data.opening import PAPER_DOMAINS, PAPER_NEW_DOMAIN
from unimp_bench.data.sources.amazon2014 import Amazon2014
from unimp_bench.data.sources.synthetic import GENERATOR_VERSION, shop, write_shop
from unimp_bench.data.sources.synthetic import truth as truths
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.progress import Silent
from unimp_bench.provenance import hash_outputs, read_manifest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "tiny"
    write_shop(folder, "tiny", 0, Silent())
    return folder


FROZEN = "71890f81e0ee87aa2662cc894c72a2f138cc71570d457aca5535b828209fa691"  # raw files of `tiny`, seed 0


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def all_reviews(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.glob("reviews_*")) for line in lines(path)]


def all_metadata(folder: Path) -> list[dict[str, object]]:
    return [ast.literal_eval(line) for path in sorted(folder.glob("meta_*")) for line in lines(path)]


def test_equal_seed_equal_bytes_and_another_seed_another_shop(tiny: Path, tmp_path: Path) -> None:
    write_shop(tmp_path / "again", "tiny", 0, Silent())
    write_shop(tmp_path / "other", "tiny", 1, Silent())
    assert hash_outputs(tmp_path / "again") == hash_outputs(tiny)
    ours, theirs = set(hash_outputs(tiny).values()), set(hash_outputs(tmp_path / "other").values())
    shared = {name for name, value in hash_outputs(tiny).items() if value in ours & theirs}
    assert shared == {"truth/sentences.parquet"}  # the language is the same everywhere


def test_the_frozen_version_has_not_changed(tiny: Path) -> None:
    # A change here is another shop: raise GENERATOR_VERSION and name the dataset anew.
    assert GENERATOR_VERSION == 1
    content = hashlib.sha256()
    for path in sorted(tiny.glob("*.json.gz")):
        content.update("\n".join(lines(path)).encode())
    assert content.hexdigest() == FROZEN


def test_a_written_shop_is_left_alone_and_another_is_refused(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    write_shop(tiny, "tiny", 0, Silent())
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before
    with pytest.raises(ConfigError, match="something else than shop 'tiny' of seed 7"):
        write_shop(tiny, "tiny", 7, Silent())


def test_an_unknown_size_is_answered_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean small"):
        write_shop(tmp_path / "x", "smal", 0, Silent())
    assert not (tmp_path / "x").exists()


def test_a_killed_generation_leaves_nothing_and_is_redone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"

    def killed(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shop, "render", killed)
        with pytest.raises(KeyboardInterrupt):
            write_shop(folder, "tiny", 0, Silent())
    assert not folder.exists()
    (tmp_path / ".shop.draft" / "images" / "rest.jpg").write_bytes(b"of an older kill")
    write_shop(folder, "tiny", 0, Silent())
    assert hash_outputs(folder) == hash_outputs(tiny)
    assert not (tmp_path / ".shop.draft").exists()


def test_reviews_have_the_fields_of_2014(tiny: Path) -> None:
    names = ["reviewerID", "asin", "reviewerName", "helpful", "reviewText", "overall", "summary", "unixReviewTime"]
    for review in all_reviews(tiny):
        assert [n for n in (*names, "reviewTime") if n != "reviewerName"] == [n for n in review if n != "reviewerName"]
        assert review["overall"] in (1.0, 2.0, 3.0, 4.0, 5.0)
        assert review["unixReviewTime"] % 86_400 == 0  # type: ignore[operator]


def test_metadata_are_python_literals_and_not_json(tiny: Path) -> None:
    for path in tiny.glob("meta_*"):
        for line in lines(path):
            assert isinstance(ast.literal_eval(line), dict)
            with pytest.raises(ValueError, match="Expecting property name"):
                json.loads(line)


def test_the_dump_is_dirty(tiny: Path) -> None:
    reviews, metadata = all_reviews(tiny), all_metadata(tiny)
    rows = Counter(json.dumps(review) for review in reviews)
    pairs = Counter((review["reviewerID"], review["asin"]) for review in reviews)
    assert max(rows.values()) == 2  # byte-identical copies
    assert sum(n > 1 for n in pairs.values()) > sum(n > 1 for n in rows.values())  # second reviews, other words
    assert min(Counter(review["reviewerID"] for review in reviews).values()) < 5
    assert min(Counter(review["asin"] for review in reviews).values()) < 5
    assert any(not review["reviewText"] for review in reviews)
    assert any("&amp;" in str(review["reviewText"]) for review in reviews)
    sold = {review["asin"] for review in reviews}
    assert {record["asin"] for record in metadata} - sold  # nobody bought these
    assert max(Counter(record["asin"] for record in metadata).values()) > 1
    for field in ("price", "imUrl", "brand", "description"):
        assert any(field not in record for record in metadata), field
    assert any("&amp;" in str(record.get("title")) for record in metadata)
    pictures = {path.stem for path in (tiny / "images").iterdir()}
    assert {record["asin"] for record in metadata if "imUrl" in record} & sold - pictures  # dead addresses


def test_the_adapter_reads_every_row(tiny: Path) -> None:
    drops = DropLog()
    source = Amazon2014(tiny, (*PAPER_DOMAINS, PAPER_NEW_DOMAIN))
    rows = source.rows(drops, Silent())
    manifest = read_manifest(tiny)
    assert manifest is not None
    assert rows.height == sum(n for name, n in manifest.rows.items() if name.startswith("reviews_"))
    assert drops.frame().height == 0
    items = source.items(rows.select("item_id", "domain").unique().sort("item_id"), drops, Silent())
    known = truths.read(tiny / "truth").world.index
    assert set(items.filter(items["item_id"].is_in(list(known)))["categories"].list.len()) == {3}
    assert items["title"].str.contains("&amp;|&#").any() is False
    assert source.pictures(items["item_id"].to_list()) is not None


def test_every_customer_of_the_dump_is_in_the_truth(tiny: Path) -> None:
    truth = truths.read(tiny / "truth")
    assert {str(review["reviewerID"]) for review in all_reviews(tiny)} <= set(truth.user_index)
