from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from tests.metrics.frames import texts
from unimp_bench.metrics import spec, wordnet
from unimp_bench.metrics.meteor import compute
from unimp_bench.metrics.pairs import MetricContext, Models
from unimp_bench.metrics.wordnet import WordNet

NONE = MetricContext(models=Models(wordnet=Path("/nowhere")))


def write_wordnet(folder: Path) -> Path:
    """A dictionary of a few words in the format of WordNet's files: (part, words of the meaning)."""
    meanings = [
        ("n", ["price", "cost", "terms_of_sale"]),
        ("n", ["woman", "Lady"]),
        ("a", ["good", "fine(a)"]),
        ("v", ["buy", "purchase"]),
    ]
    folder.mkdir(parents=True)
    for part, name in (("n", "noun"), ("v", "verb"), ("a", "adj"), ("r", "adv")):
        data, index = "  1 This is a licence.\n", {}
        for of_part, names in meanings:
            if of_part == part:
                fields = " ".join(f"{word} 0" for word in names)
                for word in names:
                    index.setdefault(word.partition("(")[0].lower(), []).append(len(data))
                data += f"{len(data):08d} 03 {part} {len(names):02x} {fields} 000 | what it means\n"
        lines = [
            f"{word} {part} {len(at)} 0 {len(at)} 0 {' '.join(f'{a:08d}' for a in at)}  \n"
            for word, at in index.items()
        ]
        (folder / f"data.{name}").write_text(data)
        (folder / f"index.{name}").write_text("  1 This is a licence.\n" + "".join(sorted(lines)))
        (folder / f"{name}.exc").write_text("bought buy\n" if part == "v" else "")
    return folder


def synonyms(net: WordNet, word: str) -> set[str]:
    return {lemma.name() for synset in net.synsets(word) for lemma in synset.lemmas()}


def test_words_are_found_in_any_form(tmp_path: Path) -> None:
    net = WordNet(write_wordnet(tmp_path / "wordnet"))
    assert synonyms(net, "Prices") == {"price", "cost", "terms_of_sale"}
    assert synonyms(net, "women") == {"woman", "Lady"}  # by the ending men, man
    assert synonyms(net, "finest") == {"good", "fine"}
    assert synonyms(net, "bought") == synonyms(net, "buying") == {"buy", "purchase"}
    assert synonyms(net, "zzz") == set()


def test_folder_and_zip_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_wordnet(tmp_path / "nltk/corpora/wordnet")
    with ZipFile(tmp_path / "wordnet.zip", "w") as file:
        for path in folder.iterdir():
            file.write(path, f"wordnet/{path.name}")
    assert synonyms(WordNet(tmp_path / "wordnet.zip"), "cost") == {"price", "cost", "terms_of_sale"}
    assert wordnet.find(tmp_path / "wordnet.zip") == tmp_path / "wordnet.zip"
    assert wordnet.find(tmp_path) is None
    (tmp_path / "half").mkdir()
    (tmp_path / "half/index.noun").touch()
    assert wordnet.find(tmp_path / "half") is None
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    assert wordnet.find() == folder


def test_synonyms_count_for_meteor_alone(tmp_path: Path) -> None:
    models = Models(wordnet=write_wordnet(tmp_path / "wordnet"))
    truth = texts({"u1": "good price", "u2": "soft colors", "u3": "good", "u4": "good"})
    said = texts({"u1": "fine costs", "u2": "soft color", "u3": None, "u4": "bad"})
    found = compute(["meteor", "meteor_exact_stem"], truth, said, MetricContext(models=models))
    # Both words match, in one chunk: 1 - 0.5 (1 / 2)^3.
    assert found.filter(metric="meteor")["value"].to_list() == pytest.approx([0.9375, 0.9375, 0, 0])
    assert found.filter(metric="meteor_exact_stem")["value"].to_list() == pytest.approx([0, 0.9375, 0, 0])


def test_without_wordnet_the_other_name_alone_is_computed() -> None:
    truth = texts({"u1": "soft colors"})
    found = spec.score(["meteor", "meteor_exact_stem"], truth, truth, NONE)
    assert found.filter(metric="meteor")["value"].to_list() == [None]
    assert found.filter(metric="meteor_exact_stem")["value"].to_list() == pytest.approx([0.9375])
    assert "wordnet-base" in spec.metric("meteor").why_null(1, NONE)


def test_equal_to_nltk_called_directly(tmp_path: Path) -> None:
    """On the real WordNet where it is at hand, else on the small one."""
    from nltk.tokenize import word_tokenize
    from nltk.translate.meteor_score import meteor_score

    place = wordnet.find() or write_wordnet(tmp_path / "wordnet")
    net = WordNet(place)
    rng = np.random.default_rng(0)
    text = "good fine bought buying price costs women The the fabric's soft, softer don't (nice) color"
    vocabulary = text.split()
    drawn = [[" ".join(rng.choice(vocabulary, rng.integers(1, 12))) for _ in range(80)] for _ in range(2)]
    truth, said = ({f"u{n:02d}": text for n, text in enumerate(side)} for side in drawn)
    found = compute(["meteor"], texts(truth), texts(said), MetricContext(models=Models(wordnet=place)))
    expected = [
        meteor_score([word_tokenize(t, preserve_line=True)], word_tokenize(s, preserve_line=True), wordnet=net)
        for t, s in zip(*drawn, strict=True)
    ]
    assert found["value"].to_list() == pytest.approx(expected)
    assert 0.1 < np.mean(expected) < 0.9
