"""Features by name: kept on disk, found again, shuffled, and what is said where there are none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from filelock import FileLock
from safetensors import safe_open

from tests.fakes import Base
from tests.fakes import register as register_runner
from tests.features.known import Lengths, catalogue, register, worked
from tests.shop import add_variant, home_at
from unimp_bench import execute, tables
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.features import ensure, item_features, store
from unimp_bench.probes import BLANK_PICTURES, NO_TEXT, SWAPPED_PICTURES, showing
from unimp_bench.progress import Silent
from unimp_bench.runners.protocol import Context
from unimp_bench.schemas import ITEMS

TITLES = ["a", "bb", None, "dddd", "eeeee"]


@dataclass
class Heard(Silent):
    """Remembers what was said."""

    lines: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.features.known"
    register(
        monkeypatch,
        lengths=f"{here}:Lengths",
        pictured=f"{here}:Pictured",
        **{"hostile:": f"{here}:Hostile"},
    )


def _context(tmp_path: Path, seed: int = 0) -> Context:
    return Context(seed, tmp_path / "scratch", Heard(), truth=tmp_path, curve=tmp_path, features=tmp_path / "features")


def test_features_are_made_once_and_found_again(tmp_path: Path) -> None:
    view, folder = catalogue(TITLES), tmp_path / "features"
    made = ensure(view, "lengths", _context(tmp_path))
    assert made.features.values.tolist() == [[1, 1], [2, 1], [0, 0], [4, 1], [5, 1]]
    assert made.features.values.dtype == np.float32
    assert made.features.present.tolist() == [True, True, False, True, True]
    assert (made.features.encoder, made.features.width) == ("lengths", 2)
    assert made.file == folder / f"{made.features.digest}.safetensors"
    again = item_features(view, "lengths", _context(tmp_path, seed=3))
    assert np.array_equal(again.values, made.features.values)
    assert np.array_equal(again.present, made.features.present)
    assert again.digest == made.features.digest
    assert worked(folder) == 1
    with safe_open(made.file, framework="numpy") as kept:
        assert kept.metadata()["identity"] == "lengths 1"
    assert not list(folder.glob(".*.draft"))


def test_without_a_home_the_scratch_keeps_them(tmp_path: Path) -> None:
    made = ensure(catalogue(TITLES), "lengths", Context(0, tmp_path))
    assert made.file.parent == tmp_path / "features"
    assert made.file.is_file()


@pytest.mark.parametrize("left", [0, 7, 40, -1])
def test_a_file_that_was_cut_short_is_made_again(tmp_path: Path, left: int) -> None:
    view, context = catalogue(TITLES), _context(tmp_path)
    made = ensure(view, "lengths", context)
    made.file.write_bytes(made.file.read_bytes()[:left])
    again = item_features(view, "lengths", context)
    assert np.array_equal(again.values, made.features.values)
    assert worked(tmp_path / "features") == 2
    (line,) = context.progress.lines  # type: ignore[attr-defined]
    assert "is damaged" in line
    assert "\n" not in line
    assert item_features(view, "lengths", context).digest == again.digest
    assert worked(tmp_path / "features") == 2


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    context = _context(tmp_path)
    first = ensure(catalogue(TITLES), "lengths", context)
    other = ensure(catalogue(["x", *TITLES[1:]]), "lengths", context)
    assert first.file != other.file
    other.file.write_bytes(first.file.read_bytes())
    with pytest.raises(store.DamagedError, match="of another shape or origin"):
        store.read(tmp_path / "features", other.features.digest, 5)
    assert item_features(catalogue(["x", *TITLES[1:]]), "lengths", context).values[0, 0] == 1
    assert worked(tmp_path / "features") == 3


def test_what_a_killed_writer_left_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _context(tmp_path)

    def torn(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(Path, "write_bytes", torn)
        with pytest.raises(KeyboardInterrupt):
            item_features(catalogue(TITLES), "lengths", context)
    assert not list((tmp_path / "features").glob("*.safetensors"))
    assert item_features(catalogue(TITLES), "lengths", context).values[4, 0] == 5


def test_digests_name_encoder_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _context(tmp_path)
    view = catalogue(TITLES, image_id=["p", "q", None, None, None])
    other = catalogue([*TITLES[:4], "eeeef"], image_id=["p", "q", None, None, None])
    digests = [
        item_features(view, "lengths", context).digest,
        item_features(other, "lengths", context).digest,
        item_features(view, "pictured", context).digest,
    ]
    monkeypatch.setattr(Lengths, "version", "lengths 2")
    digests.append(item_features(view, "lengths", context).digest)
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 for digest in digests)


def test_noise_in_what_is_not_read_changes_nothing(tmp_path: Path) -> None:
    clean = catalogue(TITLES, image_id=["p", "q", None, None, None])
    tables.write(clean.items, tmp_path / "items.parquet", ITEMS)
    clean = replace(clean, origin=tmp_path / "items.parquet")
    worded = replace(clean, items=clean.items.with_columns(pl.lit("gone").alias("title")))
    shown = replace(clean, items=clean.items.with_columns(pl.col("image_id").shift(1).alias("image_id")))
    context = _context(tmp_path)

    def digests(encoder: str) -> list[str]:
        return [item_features(view, encoder, context).digest for view in (clean, worded, shown)]

    text, picture = digests("lengths"), digests("pictured")
    assert text[0] == text[2] != text[1]
    assert picture[0] == picture[1] != picture[2]
    assert worked(tmp_path / "features") == 4


def test_shuffled_rows_are_those_of_others(tmp_path: Path) -> None:
    titles = [None if k % 7 == 3 else "x" * k for k in range(1, 31)]
    view = catalogue(titles)
    plain, other = (item_features(view, f"lengths{end}", _context(tmp_path)) for end in ("", "@shuffled"))
    assert other.encoder == "lengths@shuffled"
    assert np.array_equal(other.present, plain.present)
    assert not other.values[~other.present].any()
    assert sorted(other.values[:, 0]) == sorted(plain.values[:, 0])
    assert (other.values[plain.present, 0] != plain.values[plain.present, 0]).all()
    same = item_features(view, "lengths@shuffled", _context(tmp_path))
    assert np.array_equal(same.values, other.values)
    seeded = item_features(view, "lengths@shuffled", _context(tmp_path, seed=1))
    assert not np.array_equal(seeded.values, other.values)
    assert len({plain.digest, other.digest, seeded.digest}) == 3
    assert other.digest == same.digest
    assert worked(tmp_path / "features") == 1
    single = item_features(catalogue(["a", None]), "lengths@shuffled", _context(tmp_path))
    assert single.values.tolist() == [[1, 1], [0, 0]]


def test_who_comes_second_waits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _context(tmp_path)
    made = ensure(catalogue(TITLES), "lengths", context)
    (lock,) = made.file.parent.glob(".*.lock")
    made.file.unlink()
    held = FileLock(lock)
    held.acquire()

    class Told(Silent):
        def say(self, message: str) -> None:
            assert "another process is making these features" in message
            held.release()

    again = item_features(catalogue(TITLES), "lengths", replace(context, progress=Told()))
    assert again.digest == made.features.digest
    assert not held.is_locked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hostile:foreign", "encoder 'hostile:foreign': the camera is off; switch it on"),
        ("hostile:package", "needs the package 'no_such_package', which is not installed"),
        ("hostile:rows", r"gave \(6, 2\) and \(5,\) of 5 items"),
        ("hostile:width", "found nothing that two items share"),
        ("hostile:nan", "numbers that are not finite"),
        ("pictured", "reads pictures and no item of this dataset has any"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        item_features(catalogue(TITLES), name, _context(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "features").glob("*.safetensors"))


def test_a_catalogue_without_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tfidf_svd' reads text and no item"):
        item_features(catalogue([None, None]), "tfidf_svd", _context(tmp_path))
    with pytest.raises(ConfigError, match="nothing that two items share"):
        item_features(catalogue(["one", "two"]), "tfidf_svd", _context(tmp_path))


@dataclass
class Reading(Base):
    """Writes down the features that it is given while it fits and predicts."""

    notes: Path = Path("notes")
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain"})

    def _note(self, stage: str, view: Catalogue, context: Context) -> None:
        found = ensure(view, "tfidf_svd", context)
        assert found.file.parent == context.features
        self.notes.mkdir(exist_ok=True)
        np.save(self.notes / f"{stage}.npy", found.features.values)

    def fit(self, data, context) -> None:  # type: ignore[no-untyped-def]
        self._note("fit", data["recommendation"].catalogue, context)

    def predict(self, task, examples, view, context):  # type: ignore[no-untyped-def]
        self._note("predict", view, context)
        yield examples.select("example_id", item_ids=pl.lit(None))


def test_runs_share_the_features_of_their_home_under_noise_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_runner(monkeypatch, reading="tests.features.test_making:Reading")
    home = home_at(tmp_path / "home")
    data = Dataset.open(home, "shop")
    add_variant(data)  # no item has a title
    notes = tmp_path / "notes"
    execute.run(home, "shop", "recommendation", "reading", parameters={"notes": str(notes)})
    assert len(list(home.features.glob("*.safetensors"))) == 1
    fit = np.load(notes / "fit.npy")
    assert np.array_equal(fit, np.load(notes / "predict.npy"))
    execute.run(home, "shop", "recommendation", "reading", parameters={"notes": str(notes)}, variant="NT-0.2")
    noisy = np.load(notes / "predict.npy")
    assert noisy.shape == fit.shape  # of the words of the clean catalogue
    assert not np.array_equal(noisy, fit)
    assert len(list(home.features.glob("*.safetensors"))) == 2


def test_probes_are_seen_with_the_eyes_of_the_clean_catalogue(tmp_path: Path) -> None:
    data = Dataset.open(home_at(tmp_path / "home"), "shop")
    context, plain = _context(tmp_path), item_features(data.catalogue(), "thumbnail", _context(tmp_path))
    swapped = item_features(showing(data, "recommendation", SWAPPED_PICTURES).catalogue, "thumbnail", context)
    assert sorted(map(tuple, swapped.values)) == sorted(map(tuple, plain.values))
    assert not np.array_equal(swapped.values, plain.values)
    blank = item_features(showing(data, "recommendation", BLANK_PICTURES).catalogue, "thumbnail", context)
    assert blank.values.shape == plain.values.shape
    assert not blank.present.any()
    words = item_features(data.catalogue(), "tfidf_svd", context)
    silent = item_features(showing(data, "recommendation", NO_TEXT).catalogue, "tfidf_svd", context)
    assert silent.values.shape == words.values.shape
    assert not silent.values.any()
    assert not silent.present.any()
