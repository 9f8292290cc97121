from __future__ import annotations

import pytest

from unimp_bench.budget import Budget
from unimp_bench.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds", "trials", "written"),
    [
        ("90s", 90.0, 1, "90s"),
        ("4min", 240.0, 1, "4min"),
        ("1.5h", 5400.0, 1, "90min"),
        ("7200s", 7200.0, 1, "2h"),
        ("20trials", None, 20, "20trials"),
        ("1trial", None, 1, "1trial"),
        ("4min,20trials", 240.0, 20, "4min,20trials"),
        (" 20 Trials , 0.5 S", 0.5, 20, "0.5s,20trials"),
    ],
)
def test_a_budget_is_time_trials_or_both(text: str, seconds: float | None, trials: int, written: str) -> None:
    budget = Budget.parse(text)
    assert budget == Budget(seconds, trials)
    assert str(budget) == written
    assert Budget.parse(written) == budget
    assert Budget.of(budget.record()) == budget


def test_trials_share_the_time_equally() -> None:
    assert Budget(240.0, 20).share(20) == 12.0
    assert Budget(240.0, 20).share(6) == 40.0
    assert Budget(None, 20).share(20) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4fortnights", "unknown unit 'fortnights'"),
        ("240", "'240' is no number with a unit"),
        ("min", "'min' is no number with a unit"),
        ("", "'' is no number with a unit"),
        ("4min,", "'' is no number with a unit"),
        ("-4min", "'-4min' is no number with a unit"),
        ("infs", "'infs' is no number with a unit"),
        ("0s", "time is one number above 0"),
        ("4min,90s", "time is one number above 0"),
        ("0trials", "trials are one whole number of at least 1"),
        ("2.5trials", "trials are one whole number of at least 1"),
        ("2trials,3trials", "trials are one whole number of at least 1"),
        ("9" * 400 + "s", "is no number with a unit"),
    ],
)
def test_what_is_no_budget_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)
    assert "write for example 90s, 4min" in str(caught.value)
