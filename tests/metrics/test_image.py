from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.descriptor import describe
from unimp_bench.errors import IncompleteError, PredictionError
from unimp_bench.metrics import image, spec
from unimp_bench.metrics.image import compute, kid_shares
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.schemas import EXAMPLES, HISTORY, IMAGES, ITEMS, PREDICTIONS, STRINGS, conform


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)


def kid_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate as Gretton et al. write it."""
    n = len(x)
    within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within - 2 * sum(kernel(x[i], y[j]) for i in range(n) for j in range(n)) / n**2


@pytest.mark.parametrize("block", [1024, 3])
def test_mean_of_shares_is_the_unbiased_kid(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_BLOCK", block)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(11, 64)), rng.normal(0.3, 1, size=(11, 64))
    assert kid_shares(x, y).mean() == pytest.approx(kid_by_loops(x, y), abs=1e-9)


def test_shares_follow_their_formula() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    i, others = 2, [0, 1, 3]
    by_hand = (
        sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for j in others) / 3
        - sum(kernel(x[i], y[j]) + kernel(x[j], y[i]) for j in range(4)) / 4
    )
    assert kid_shares(x, y)[i] == pytest.approx(by_hand)


def test_kid_is_unbiased_and_sees_a_shift() -> None:
    rng = np.random.default_rng(2)
    same = [kid_shares(rng.normal(size=(40, 8)), rng.normal(size=(40, 8))).mean() for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 300**0.5
    assert kid_shares(rng.normal(size=(40, 8)), rng.normal(0.7, 1, (40, 8))).mean() > 5 * np.std(same)


def test_the_interval_covers_the_true_kid() -> None:
    """Of 200 samples of two distributions with known KID, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(3)
    truth = kid_shares(rng.normal(size=(6000, 4)), rng.normal(0.6, 1, (6000, 4))).mean()
    held = 0
    for sample in range(200):
        shares = kid_shares(rng.normal(size=(150, 4)), rng.normal(0.6, 1, (150, 4)))
        found = spec.METRICS["kid"].interval(shares, seed=sample, resamples=400)
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.89 <= held / 200 <= 0.99


def encoded(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, kind)
    return out.getvalue()


@pytest.fixture
def view(tmp_path: Path) -> Catalogue:
    """Six items of plain colours, of which the last has no picture."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (200, 200, 0)]
    pictures = pl.DataFrame(
        {
            "image_id": [f"p{n}" for n in range(5)],
            "image": [{"bytes": encoded(c), "path": None} for c in colours],
            "width": 40,
            "height": 30,
        }
    )
    tables.write(conform(pictures, IMAGES.columns), tmp_path / "images-00000.parquet", IMAGES)
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(6)],
            "item_index": range(6),
            "domain": "toys",
            "image_id": [*(f"p{n}" for n in range(5)), None],
        }
    )
    return Catalogue(conform(items, ITEMS.columns), frozenset(), (tmp_path / "images-00000.parquet",))


def truth(items: list[str], cohorts: list[str] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"example_id": [f"u{n}" for n in range(len(items))], "item_ids": pl.Series([[i] for i in items], dtype=STRINGS)}
    )
    return frame if cohorts is None else frame.with_columns(cohort=pl.Series(cohorts))


def said(pictures: list[bytes | None]) -> pl.DataFrame:
    rows = [None if p is None else {"bytes": p, "path": None} for p in pictures]
    frame = {"example_id": [f"u{n}" for n in range(len(rows))], "image": rows}
    return pl.DataFrame(frame, schema=dict(PREDICTIONS["image"].columns))


def test_pictures_are_compared_with_the_targets(view: Catalogue) -> None:
    reds = [encoded((n, 0, 0)) for n in (250, 200, 150)]
    found = compute(["kid"], truth(["i0", "i1", "i2"]), said(reds), MetricContext(view))
    x = np.stack([describe(Image.new("RGB", (40, 30), (n, 0, 0))) for n in (250, 200, 150)])
    y = np.stack([describe(Image.new("RGB", (40, 30), c)) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))])
    np.testing.assert_allclose(found["value"], kid_shares(x, y), rtol=1e-6)


def test_cohorts_are_computed_apart(view: Catalogue) -> None:
    pictures = [encoded((n, n, 0)) for n in (250, 200, 150, 10)]
    items, cohorts = ["i0", "i1", "i2", "i3"], ["new_user", "in_domain", "new_user", "in_domain"]
    together = compute(["kid"], truth(items, cohorts), said(pictures), MetricContext(view))
    alone = compute(["kid"], truth(items, cohorts)[[0, 2]], said(pictures), MetricContext(view))
    assert together.filter(cohort="new_user").equals(alone)
    assert together["cohort"].to_list() == cohorts


def test_a_cohort_of_one_has_no_kid(view: Catalogue) -> None:
    found = compute(["kid"], truth(["i0"]), said([encoded((1, 2, 3))]), MetricContext(view))
    assert found["value"].to_list() == [None]
    assert spec.METRICS["kid"].interval(found["value"].to_numpy(), seed=0).value is None


def test_unanswered_counts_as_a_mid_grey_picture(view: Catalogue) -> None:
    grey, red = encoded((128, 128, 128)), encoded((250, 0, 0))
    square = BytesIO()
    Image.new("RGB", (9, 9), (128, 128, 128)).save(square, "PNG")
    items = ["i0", "i1", "i2"]
    silent = compute(["kid"], truth(items), said([None, b"", red]), MetricContext(view))
    spoken = compute(["kid"], truth(items), said([square.getvalue(), square.getvalue(), red]), MetricContext(view))
    assert silent.equals(spoken)
    assert not silent.equals(compute(["kid"], truth(items), said([grey, red, red]), MetricContext(view)))


def test_an_answer_that_is_no_picture_is_refused(view: Catalogue) -> None:
    page = b"<html><body>404</body></html>"
    with pytest.raises(PredictionError, match="answer to example u1 is not a picture"):
        compute(["kid"], truth(["i0", "i1"]), said([None, page]), MetricContext(view))
    with pytest.raises(PredictionError, match="not a picture"):
        compute(["kid"], truth(["i0", "i1"]), said([None, encoded((1, 2, 3))[:60]]), MetricContext(view))


def test_a_target_without_picture_is_refused(view: Catalogue) -> None:
    with pytest.raises(IncompleteError, match="target item i5 has no picture"):
        compute(["kid"], truth(["i0", "i5"]), said([None, None]), MetricContext(view))
    with pytest.raises(IncompleteError, match=r"context\.view"):
        compute(["kid"], truth(["i0"]), said([None]), MetricContext())


def values(name: str, context: MetricContext, items: list[str], pictures: list[bytes | None]) -> list[float]:
    return spec.score([name], truth(items), said(pictures), context)["value"].to_list()


def test_similarity_to_the_target(view: Catalogue) -> None:
    red, dark = (encoded(c) for c in ((255, 0, 0), (0, 0, 0)))
    found = values("picture_similarity", MetricContext(view), ["i0", "i0", "i3"], [red, dark, None])
    apart = [
        np.linalg.norm(describe(Image.new("RGB", (40, 30), a)) - describe(Image.new("RGB", (40, 30), b))) / 16
        for a, b in (((255, 0, 0), (255, 0, 0)), ((0, 0, 0), (255, 0, 0)))
    ]
    assert found[:2] == pytest.approx([1 - apart[0], 1 - apart[1]])
    assert 0 < found[2] < 1  # grey beside black


def test_a_copy_of_a_training_picture_shows(view: Catalogue) -> None:
    train = pl.DataFrame({"item_id": ["i0", "i5"], "count": [3, 1]})
    red, green = encoded((255, 0, 0)), encoded((0, 255, 0))
    found = values("nearest_train_distance", MetricContext(view, train=train), ["i0", "i1", "i2"], [red, green, None])
    assert (found[0], found[2]) == (0, 0)
    assert 0.1 < found[1] <= 1
    bare = MetricContext(view, train=train.filter(item_id="i5"))
    assert values("nearest_train_distance", bare, ["i0"], [red]) == [None]


def test_personalization_gain(view: Catalogue) -> None:
    red, green = encoded((255, 0, 0)), encoded((0, 255, 0))
    past = [[{"item_id": "i0"}, {"item_id": "i5"}], [{"item_id": "i1"}]]
    asked = pl.DataFrame({"example_id": ["u0", "u1"], "history": pl.Series(past, dtype=HISTORY)})
    context = MetricContext(view, examples=conform(asked, EXAMPLES.columns))
    own = values("personalization_gain", context, ["i0", "i1"], [red, green])
    other = values("personalization_gain", context, ["i0", "i1"], [green, red])
    assert own[0] == pytest.approx(own[1])
    assert own[0] > 0.1
    assert other == pytest.approx([-own[0], -own[1]])
    assert values("personalization_gain", context, ["i0", "i1"], [None, None]) == [0, 0]
    assert values("personalization_gain", context, ["i0"], [red]) == [None]  # nobody to compare with
    assert values("personalization_gain", MetricContext(view), ["i0", "i1"], [red, red]) == [None, None]


def test_style_is_that_of_the_closest_catalogue_picture(view: Catalogue) -> None:
    styles = pl.DataFrame({"item_id": [f"i{n}" for n in range(6)], "style": [0, 1, 0, 1, 0, 1]})
    reddish, green = encoded((240, 10, 10)), encoded((0, 255, 0))
    found = values("style_accuracy", MetricContext(view, styles=styles), ["i2", "i2", "i0"], [reddish, green, None])
    assert found == [1, 0, 0]
    assert values("style_accuracy", MetricContext(view), ["i2"], [green]) == [None]


def test_kid_and_fid_of_the_suite_agree_with_their_formulas(view: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unimp_bench.metrics.frechet.TIMES_WIDTH", 0)
    pictures = [encoded((n, 200 - n, 0)) for n in (250, 200, 150, 20)]
    found = spec.score(["fid", "kid"], truth(["i0", "i1", "i2", "i3"]), said(pictures), MetricContext(view))
    x = np.stack([describe(Image.new("RGB", (40, 30), (n, 200 - n, 0))) for n in (250, 200, 150, 20)]).astype(float)
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0))
    y = np.stack([describe(Image.new("RGB", (40, 30), c)) for c in colours]).astype(float)
    root = np.sqrt(np.linalg.eigvals(np.cov(x.T) @ np.cov(y.T)).real.clip(min=0)).sum()
    fid = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)) - 2 * root
    assert found.filter(metric="fid")["value"].mean() == pytest.approx(fid, rel=1e-4)
    assert found.filter(metric="kid")["value"].mean() == pytest.approx(kid_by_loops(x, y), rel=1e-5)
