"""Flags over file over defaults; unknown keys and values are errors with the nearest known ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimp_bench.config import BuildConfig, from_mapping, read_toml, write_toml
from unimp_bench.errors import ConfigError, InputError, UnknownNameError


def test_a_config_written_is_the_config_read(tmp_path: Path) -> None:
    config = from_mapping({"seed": 3, "require": ["title"], "new_user_share": 0, "lean": True}, "test").resolved()
    write_toml(config.request(), tmp_path / "config.toml")
    assert from_mapping(read_toml(tmp_path / "config.toml"), "file").resolved() == config


def test_hostile_text_survives_toml(tmp_path: Path) -> None:
    text = 'quote " backslash \\ newline \n bell \x07 del \x7f emoji 🙂'
    write_toml({"text": text}, tmp_path / "x.toml")
    assert read_toml(tmp_path / "x.toml") == {"text": text}


@pytest.mark.parametrize(
    ("values", "message"),
    [({"sead": 1}, "did you mean seed"), ({"seed": "one"}, "wanted int"), ({"lean": 1}, "wanted bool")],
)
def test_unknown_keys_and_wrong_types(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, "flags")


def test_protocols_fill_in_their_own_values() -> None:
    official = BuildConfig(protocol="official_code").resolved()
    assert (official.core_user, official.core_item, official.merge_users, official.ties) == (8, 5, False, "item_id")
    assert BuildConfig(protocol="leave_last_out").resolved().ties == "source_order"
    assert BuildConfig().resolved().ties == "hash"


def test_values_outside_their_set_or_range() -> None:
    with pytest.raises(UnknownNameError, match="did you mean paper"):
        BuildConfig(protocol="papers").resolved()
    with pytest.raises(ConfigError, match="candidates is 3"):
        BuildConfig(candidates=3).resolved()
    with pytest.raises(ConfigError, match="candidates is 65; give a number from 4 to 64"):
        BuildConfig(candidates=65).resolved()


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(InputError, match="not TOML"):
        read_toml(tmp_path / "bad.toml")
