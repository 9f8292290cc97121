from __future__ import annotations

from pathlib import Path

import pytest

from unimp_bench.data.drops import DropLog
from unimp_bench.data.sources.hm import HM
from unimp_bench.errors import InputError, UnknownNameError
from unimp_bench.progress import Silent

DAY = 1_537_401_600_000  # 2018-09-20


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "transactions_train.csv").write_text(
        "t_dat,customer_id,article_id,price,sales_channel_id\n"
        "2018-09-20,c1,0108775015,0.02,2\n2018-09-20,c1,0108775044,0.04,2\nnever,c2,0108775044,0.06,2\n"
    )
    (tmp_path / "articles.csv").write_text(
        "article_id,prod_name,product_type_name,index_group_name,section_name,colour_group_name,detail_desc\n"
        "0108775044,Top W,Vest top,Ladies,Basic,White,second\n0108775015,Top B,Vest top,Ladies,Basic,Black,first\n"
    )
    return tmp_path


def test_product_level_merges_colours_and_keeps_leading_zeros(shop: Path) -> None:
    drops, source = DropLog(), HM(shop)
    rows = source.rows(drops, Silent())
    assert rows.rows() == [
        ("c1", "0108775", "hm", DAY, None, None, 0),
        ("c1", "0108775", "hm", DAY, None, None, 1),
    ]
    assert drops.frame().rows() == [("read", "hm", "time_missing", 1)]
    item = source.items(rows.select("item_id", "domain").unique(), drops, Silent()).row(0, named=True)
    assert (item["title"], item["categories"]) == ("Top B", ["Ladies", "Basic", "Vest top"])
    assert (item["price_usd"], item["brand"], item["description"]) == (None, None, "first")
    assert item["attributes"] == [{"name": "colour group", "value": "Black"}, {"name": "price", "value": "0.02"}]
    assert source.texts(rows, Silent()).height == 0


def test_article_level_and_pictures_of_either_layout(shop: Path) -> None:
    source = HM(shop, "article")
    assert source.rows(DropLog(), Silent())["item_id"].to_list() == ["0108775015", "0108775044"]
    assert source.pictures(["0108775015"]) is None
    (shop / "images/010").mkdir(parents=True)
    (shop / "images/010/0108775044.jpg").touch()
    assert source.pictures(["0108775015", "0108775044"]) == {"0108775044": shop / "images/010/0108775044.jpg"}
    assert HM(shop).pictures(["0108775"]) == {"0108775": shop / "images/010/0108775044.jpg"}
    (shop / "images/0108775.jpg").touch()
    assert HM(shop).pictures(["0108775"]) == {"0108775": shop / "images/0108775.jpg"}
    found = source.pictures(["0108775015", "0108775044"])
    assert found is not None
    assert found["0108775015"].name == "0108775.jpg"


def test_what_is_wrong_is_named(shop: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean product"):
        HM(shop, "produkt")
    (shop / "articles.csv").unlink()
    with pytest.raises(InputError, match=r"no articles.*articles\.csv\.gz"):
        HM(shop).inputs()
    (shop / "transactions_train.csv").write_text("t_dat,customer\n1,2\n")
    with pytest.raises(InputError, match="no column customer_id, article_id"):
        HM(shop).rows(DropLog(), Silent())


def test_leading_zeros_that_a_table_program_ate_come_back(shop: Path) -> None:
    for path in shop.glob("*.csv"):
        path.write_text(path.read_text().replace("0108775", "108775"))
    source = HM(shop)
    rows = source.rows(DropLog(), Silent())
    assert rows["item_id"].to_list() == ["0108775", "0108775"]
    found = source.items(rows.select("item_id", "domain").unique(), DropLog(), Silent())
    assert found.select("item_id", "title").rows() == [("0108775", "Top B")]
