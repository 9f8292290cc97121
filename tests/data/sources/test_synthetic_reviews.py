from __future__ import annotations

import html
from io import BytesIO

import numpy as np
import polars as pl
import pytest
from PIL import Image

from unimp_bench.data.explanations import extract, mine_features
from unimp_bench.data.sources.synthetic.kinds import DEPARTMENTS
from unimp_bench.data.sources.synthetic.pictures import render
from unimp_bench.data.sources.synthetic.reviews import NO_SENTENCE, REMARKS, draw_reviews, kind_of, make_bank
from unimp_bench.data.sources.synthetic.shapes import SHAPES
from unimp_bench.data.sources.synthetic.world import QUALITY, TYPES, make_world


def test_shares_of_every_aspect_and_sign_sum_to_one() -> None:
    bank = make_bank()
    group = (bank.kind * 4 + bank.aspect) * 2 + bank.positive
    np.testing.assert_allclose(np.bincount(group, bank.share), 1.0)
    assert all(3 <= len(text.split()) <= 30 for text in bank.texts)
    pairs = list(zip(bank.kind.tolist(), bank.texts, strict=True))
    assert len(set(pairs)) == len(pairs)  # a sentence tells its aspect and sign


def test_drawn_reviews_follow_their_chances() -> None:
    world, bank = make_world("tiny", 0), make_bank()
    count, item, kind = 40_000, 3, 5
    types, lenient, items = np.full(count, kind), np.zeros(count, dtype=int), np.full(count, item)
    drawn = draw_reviews(world, bank, types, lenient, items, np.random.default_rng(0))
    chances = world.ratings(np.array(kind), np.array(0), np.array(item))
    np.testing.assert_allclose(np.bincount(drawn.ratings, minlength=6)[1:] / count, chances, atol=0.01)
    said = drawn.sentences[drawn.sentences != NO_SENTENCE]
    assert set(bank.kind[said].tolist()) == {int(kind_of(world, np.array([item]))[0])}
    praise = float(chances @ np.asarray(world.tastes.praise))
    assert bank.positive[said].mean() == pytest.approx(praise, abs=0.01)
    negative = said[bank.positive[said] == 0]
    expected = world.topics(np.array(kind), np.array(item))[0]
    np.testing.assert_allclose(np.bincount(bank.aspect[negative], minlength=4) / len(negative), expected, atol=0.02)
    blamed = negative[bank.aspect[negative] == QUALITY]
    ways = np.bincount(blamed)[blamed.min() :]
    np.testing.assert_allclose(sorted(ways[ways > 0] / len(blamed)), sorted([0.2, 0.15, 0.1, 0.05] * 2), atol=0.03)


def test_a_reader_extracts_the_sentence_and_nothing_else() -> None:
    bank = make_bank()
    remarks = [html.unescape(remark) for remark in REMARKS]
    reviews = pl.Series([f"{remarks[i % len(remarks)]} {text}" for i, text in enumerate(bank.texts)] * 5)
    features = mine_features(reviews)
    found = extract(reviews.head(len(bank.texts)), features)
    assert (found == pl.Series(bank.texts)).mean() > 0.97
    assert extract(pl.Series(remarks), features).null_count() == len(remarks)


def test_every_kind_has_a_shape_and_pictures_are_what_they_say() -> None:
    for kind in (k for department in DEPARTMENTS for k in department.kinds):
        assert kind.shape in SHAPES
    for shape in SHAPES:
        picture = Image.open(BytesIO(render("B0ABCDEFGH", shape, 3, 48)))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (48, 48), "RGB")
        corner = np.asarray(picture)[:4, :4].mean()
        assert corner > 225  # plain background


def test_equal_items_look_equal_and_others_differ() -> None:
    assert render("B0AAAAAAAA", "shoe", 1, 48) == render("B0AAAAAAAA", "shoe", 1, 48)
    assert render("B0AAAAAAAA", "shoe", 1, 48) != render("B0AAAAAAAB", "shoe", 1, 48)


def _colours(picture: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(BytesIO(picture))).reshape(-1, 3)
    body = pixels[pixels.min(axis=1) < 200]
    cells = (body // 64).astype(int) @ np.array([16, 4, 1])
    return np.bincount(cells, minlength=64) / max(len(cells), 1)


def test_a_picture_tells_the_style_across_kinds() -> None:
    shapes = sorted(SHAPES)
    learn = {s: np.mean([_colours(render(f"a{k}{s}", k, s, 48)) for k in shapes[::4]], axis=0) for s in range(8)}
    right = [
        min(learn, key=lambda s: float(((learn[s] - _colours(render(f"b{k}{t}", k, t, 48))) ** 2).sum())) == t
        for k in shapes[1::4]
        for t in range(8)
    ]
    assert np.mean(right) > 0.95
    assert TYPES % 8 == 0
