from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.times import milliseconds
from unimp_bench.errors import InputError

MS = 1_400_000_000_000


@pytest.mark.parametrize(
    "values",
    [
        ["1400000000", "1400000001"],
        [1400000000.0, 1400000001.0],
        [MS, MS + 1_000],
        [MS * 1_000, (MS + 1_000) * 1_000],
        [MS * 1_000_000, (MS + 1_000) * 1_000_000],
        ["2014-05-13T16:53:20Z", "2014-05-13T16:53:21.000Z"],
        ["2014-05-13 16:53:20", "2014-05-13 16:53:21"],
        ["2014-05-13T18:53:20+02:00", "2014-05-13 16:53:21"],
        [datetime(2014, 5, 13, 16, 53, 20), datetime(2014, 5, 13, 16, 53, 21)],
    ],
)
def test_every_usual_form(values: list[object]) -> None:
    assert milliseconds(pl.Series(values), Path("f")).to_list() == [MS, MS + 1_000]


@pytest.mark.parametrize(
    "values", [["2014-05-13"], ["2014/05/13"], ["05 13, 2014"], [date(2014, 5, 13)], ["20140513"], [20140513]]
)
def test_dates_are_utc_midnight(values: list[object]) -> None:
    expected = int(datetime(2014, 5, 13, tzinfo=UTC).timestamp() * 1_000)
    assert milliseconds(pl.Series(values), Path("f")).to_list() == [expected]


def test_single_bad_times_are_null_and_wild_ones_stay_wild() -> None:
    found = milliseconds(pl.Series(["1400000000", "soon", None, "-5", "99999999999999999999", "1400000001"]), Path("f"))
    assert found.to_list()[:4] == [MS, None, None, -5_000]
    assert found[4] > 4_102_444_800_000
    assert milliseconds(pl.Series(["2014-05-13", "soon"]), Path("f")).to_list()[1] is None


def test_nothing_readable_is_a_bad_file() -> None:
    with pytest.raises(InputError, match="times such as 'soon'"):
        milliseconds(pl.Series(["soon", "later"]), Path("f"))


@pytest.mark.parametrize("values", [[time(3)], [timedelta(3)]])
def test_times_of_day_and_spans_are_refused(values: list[object]) -> None:
    with pytest.raises(InputError, match="no points in time"):
        milliseconds(pl.Series("t", values), Path("f"))


def test_a_zone_is_taken_off() -> None:
    moment = pl.Series([datetime(2014, 5, 13, 16, 53, 20, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo")
    assert milliseconds(moment, Path("f")).to_list() == [MS]
    assert milliseconds(pl.Series(["2014-05-13 16:53", "2014-05-13T16:53"]), Path("f")).to_list() == [MS - 20_000] * 2


def test_seconds_from_a_start_of_ones_own_are_no_dates() -> None:
    assert milliseconds(pl.Series([20_140_513, 20_149_999]), Path("f")).to_list() == [20_140_513_000, 20_149_999_000]
