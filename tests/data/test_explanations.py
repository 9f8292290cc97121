from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.explanations import extract, mine_features, opinion_words

FEATURES = ["sound", "strap", "case"]


def explain(*texts: str | None) -> list[str | None]:
    return extract(pl.Series(list(texts), dtype=pl.String), FEATURES).to_list()


def test_a_sentence_needs_a_feature_and_an_opinion() -> None:
    assert explain("I bought it. The sound is great. Bye!", "The sound is there.", "It is really great.", None, "") == [
        "The sound is great.",
        None,
        None,
        None,
        None,
    ]


def test_most_opinion_words_win_then_the_first() -> None:
    assert explain("The strap is good. The sound is great and lovely. The case is awful and ugly.") == [
        "The sound is great and lovely."
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Great sound.", None),  # two words
        ("Great sound " + "very " * 28 + ".", None),  # thirty-one with the full stop
        ("Great sound " + "very " * 28, "Great sound" + " very" * 28),
        ("It came late.The sound is great.I am off", "The sound is great."),
        ("It costs 4.5 dollars and the sound is great", "It costs 4.5 dollars and the sound is great"),
        ("Nice!! <br /><br />\n - The   strap is\tgreat\n", "The strap is great"),
        ("See https://x.org/great-sound now and [[VIDEOID:great sound here]] bye", None),
        ("I like [[ASIN:B000123 Acme Case]] a lot, great case!", "I like Acme Case a lot, great case!"),
        ("SOUND IS GREAT!", "SOUND IS GREAT!"),
        ("The soundness is greatness.", None),  # whole words only
    ],
)
def test_sentences_are_cut_and_tidied(text: str, sentence: str | None) -> None:
    assert explain(text) == [sentence]


def test_reviews_keep_their_places_over_slices() -> None:
    texts = pl.Series([None, "The sound is great.", "nothing"] * 9000)
    found = extract(texts, FEATURES)
    assert found.to_list() == [None, "The sound is great.", None] * 9000
    assert extract(texts.clear(), FEATURES).to_list() == []
    assert extract(texts.head(3), []).null_count() == 3


def test_features_are_nouns_of_phrases_the_most_frequent_first() -> None:
    texts = pl.Series(
        ["The sound is good. I like my old strap."] * 6
        + ["Its sound, wow"]
        + ["the case"] * 5
        + ["this one is good. The best is it. My case feels very cheap, the cheap is cheap"] * 5
        + [None, "the rare"]
    )
    assert mine_features(texts) == ["case", "sound", "strap"]
    assert mine_features(texts, minimum=7) == ["case", "sound"]
    assert mine_features(texts, most=1) == ["case"]
    assert mine_features(pl.Series([], dtype=pl.String)) == []


def test_phrases_do_not_reach_from_one_review_into_the_next() -> None:
    assert mine_features(pl.Series(["look at the", "amp is fine"] * 20)) == []


def test_opinion_words_are_plain_words_of_some_strength() -> None:
    words = opinion_words()
    assert {"great", "awful", "comfortable", "broken"} <= set(words)
    assert not {"the", "like", "gift", ":)"} & set(words)
    assert words == sorted(words)


def test_a_hostile_review_ends() -> None:
    nasty = ["<" * 50_000, "." * 200_000, "[[" * 50_000, "a" * 1_000_000, "\x00\ud7ff sound great it"]
    assert extract(pl.Series(nasty), FEATURES).to_list()[:4] == [None] * 4


@pytest.mark.real_data
def test_most_real_reviews_explain_themselves(real_data: Path) -> None:
    archive = real_data / "amazon2014/musical_instruments/Musical_instruments_reviews.csv.zip"
    with zipfile.ZipFile(archive) as packed:
        reviews = pl.read_csv(io.BytesIO(packed.read(packed.namelist()[0])))["reviewText"]
    features = mine_features(reviews)
    found = extract(reviews, features)
    assert {"sound", "guitar", "strings"} <= set(features[:100])
    assert 0.8 < 1 - found.null_count() / len(found) < 0.95
    words = found.drop_nulls().str.count_matches(r"\S+")
    assert words.min() >= 3  # type: ignore[operator]
    assert words.max() <= 30  # type: ignore[operator]
