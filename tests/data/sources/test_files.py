from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.drops import DropLog
from unimp_bench.data.sources.files import Files
from unimp_bench.errors import ConfigError, InputError
from unimp_bench.progress import Silent


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    source = Files(table(tmp_path, "user,item\nu,007\nv,8\n"))
    assert source.domains == ("shop",)
    rows = source.rows(DropLog(), Silent())
    assert rows.rows() == [("u", "007", "shop", None, None, None, 0), ("v", "8", "shop", None, None, None, 1)]
    assert source.texts(rows, Silent()).height == 0
    assert source.items(rows.select("item_id", "domain"), DropLog(), Silent()).height == 0
    assert source.pictures(["007"]) is None


def test_amazon_names_ratings_texts_and_positions(tmp_path: Path) -> None:
    text = "reviewerID,asin,overall,unixReviewTime,summary,reviewText,position\nu,B1,5.0,1400000000,&lt;3,a &amp; b,3\n"
    source, drops = Files(table(tmp_path, text + "u,B2,five,1400000000,,,4\nv,B1,1,1400000001,,,0\n")), DropLog()
    rows = source.rows(drops, Silent())
    assert rows.rows() == [
        ("u", "B1", "shop", 1_400_000_000_000, 5.0, 3, 0),
        ("v", "B1", "shop", 1_400_000_001_000, 1.0, 0, 2),
    ]
    assert drops.frame().rows() == [("read", "shop", "rating_missing", 1)]
    assert source.texts(rows, Silent()).rows() == [("shop", 0, "<3", "a & b"), ("shop", 2, None, None)]


def test_json_lines_with_numbers_for_ids(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        '{"user_id": 1, "item_id": 2, "rating": 4}\n{"user_id": 3, "item_id": "x", "rating": "5"}\n',
        "t.jsonl",
    )
    rows = Files(path).rows(DropLog(), Silent())
    assert rows.select("user_id", "item_id", "rating").rows() == [("1", "2", 4.0), ("3", "x", 5.0)]


def test_domains_of_a_column(tmp_path: Path) -> None:
    source, drops = Files(table(tmp_path, "user,item,domain,review\nu,a,toys,x\nu,b,baby,y\nu,c,../x,z\n")), DropLog()
    assert source.domains == ("../x", "baby", "toys")
    rows = source.rows(drops, Silent())
    assert rows["domain"].to_list() == ["toys", "baby"]
    assert drops.frame()["reason"].to_list() == ["unsafe_domain"]
    assert sorted(source.texts(rows, Silent()).select("domain", "review_text").rows()) == [("baby", "y"), ("toys", "x")]


def test_columns_named_by_hand(tmp_path: Path) -> None:
    path = table(tmp_path, "who,what,item\nu,a,no\n")
    rows = Files(path, columns={"user_id": "who", "item_id": "what"}).rows(DropLog(), Silent())
    assert rows.select("user_id", "item_id").rows() == [("u", "a")]
    with pytest.raises(InputError, match="no column for user_id"):
        Files(path).rows(DropLog(), Silent())
    with pytest.raises(ConfigError, match="did you mean who"):
        Files(path, columns={"user_id": "whoo"}).rows(DropLog(), Silent())
    with pytest.raises(ConfigError, match="did you mean user_id"):
        Files(path, columns={"user": "who"}).rows(DropLog(), Silent())
    with pytest.raises(InputError, match="no row"):
        Files(table(tmp_path, "user,item\n", "empty.csv")).rows(DropLog(), Silent())


def test_items_with_everything_else_as_attributes(tmp_path: Path) -> None:
    items = table(
        tmp_path,
        "asin,name,category,price,image_url,colour\n1,A &amp; B,X > Y,$3,http://x/1.jpg,red\n1,again,,,,\n2,,,,,\n",
    )
    source, drops = Files(table(tmp_path, "user,item\nu,1\nu,2\n", "i.csv"), items, tmp_path), DropLog()
    wanted = source.rows(drops, Silent()).select("item_id", "domain")
    assert source.items(wanted, drops, Silent()).rows() == [
        ("1", "shop", "A & B", None, ["X", "Y"], 3.0, None, [{"name": "colour", "value": "red"}], ["http://x/1.jpg"]),
        ("2", "shop", None, None, None, None, None, [], []),
    ]
    assert drops.frame().rows() == [("items", "shop", "second_metadata_record", 1)]
    (tmp_path / "2.jpg").touch()
    assert source.pictures(["1", "2"]) == {"2": tmp_path / "2.jpg"}
    assert source.inputs() == [tmp_path / "i.csv", items]


def test_a_row_without_domain_is_counted_like_one_with_a_bad_one(tmp_path: Path) -> None:
    source, drops = Files(table(tmp_path, "user,item,domain\nu,a,toys\nu,b,\nu,c,../x\n")), DropLog()
    assert source.rows(drops, Silent())["item_id"].to_list() == ["a"]
    assert drops.frame().rows() == [("read", "", "unsafe_domain", 1), ("read", "../x", "unsafe_domain", 1)]


def test_ids_that_look_like_numbers_meet_their_items(tmp_path: Path) -> None:
    rows = '{"user": "u", "item": 1.0}\n{"user": "u", "item": "1e5"}\n{"user": "u", "item": "None"}\n'
    items = '{"item": 1.0, "title": "A"}\n{"item": "1e5", "title": "B"}\n{"item": null, "title": "C"}\n'
    source = Files(table(tmp_path, rows, "i.jsonl"), table(tmp_path, items, "t.jsonl"))
    wanted = source.rows(DropLog(), Silent()).select("item_id", "domain")
    assert wanted["item_id"].to_list() == ["1", "1e5", "None"]
    found = source.items(wanted, DropLog(), Silent())
    assert found.select("item_id", "title").rows() == [("1", "A"), ("1e5", "B")]


def test_lists_are_no_ids(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [[1]], "item_id": ["a"]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"column for user_id holds List"):
        Files(tmp_path / "t.parquet").rows(DropLog(), Silent())


def test_lists_that_a_table_program_spelled_out(tmp_path: Path) -> None:
    items = table(
        tmp_path,
        "asin,category,description,imageURLHighRes\n"
        """1,"['A', 'B']","['One.', ""Two's.""]","['http://x/1.jpg', 'http://x/2.jpg']"\n2,[],[],[broken\n""",
    )
    source = Files(table(tmp_path, "user,item\nu,1\nu,2\n", "i.csv"), items)
    found = source.items(source.rows(DropLog(), Silent()).select("item_id", "domain"), DropLog(), Silent())
    assert found.select("categories", "description", "image_urls").rows() == [
        (["A", "B"], "One. Two's.", ["http://x/1.jpg", "http://x/2.jpg"]),
        (None, None, []),
    ]
