"""Metrics that need a model: what is said without one, and what a tiny one gives where torch is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.metrics.frames import texts
from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext, Models
from unimp_bench.schemas import EXAMPLES, IMAGES, ITEMS, PREDICTIONS, STRINGS, conform


def test_every_missing_piece_has_its_reason(tmp_path: Path) -> None:
    empty = MetricContext(models=Models(bertscore=tmp_path, clip=tmp_path))
    assert spec.metric("bertscore").lacks(MetricContext()) == "needs an encoder in models/bertscore of the home folder"
    assert "has no config.json" in (spec.metric("bertscore").lacks(empty) or "")
    assert (
        spec.metric("clip_image_image").lacks(MetricContext()) == "needs a CLIP model in models/clip of the home folder"
    )
    assert "has no config.json" in (spec.metric("clip_text_image").lacks(empty) or "")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("unimp_bench.metrics.bertscore.find_spec", lambda name: None)
    monkeypatch.setattr("unimp_bench.metrics.clip.find_spec", lambda name: None)
    context = MetricContext(models=Models(bertscore=tmp_path, clip=tmp_path))
    assert "package bert-score" in (spec.metric("bertscore").lacks(context) or "")
    assert "packages transformers and torch" in (spec.metric("clip_image_image").lacks(context) or "")


def tiny_bert(folder: Path) -> Path:
    """An encoder with random weights that knows a dozen words."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    folder.mkdir()
    text = "[PAD] [UNK] [CLS] [SEP] [MASK] so soft very nice fits well the fabric"
    words = text.split()
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_bertscore_of_a_tiny_encoder(tmp_path: Path) -> None:
    bert_score = pytest.importorskip("bert_score")
    folder = tiny_bert(tmp_path / "bert")
    truth = texts({"u1": "so soft", "u2": "the fabric", "u3": "very nice", "u4": "fits well", "u5": "so soft"})
    said = texts({"u1": "so soft", "u2": "nice fabric", "u3": None, "u4": "well", "u5": "so soft"})
    found = spec.score(["bertscore"], truth, said, MetricContext(models=Models(bertscore=folder)))["value"].to_list()
    theirs = bert_score.score(
        ["nice fabric", "well"], ["the fabric", "fits well"], model_type=str(folder), num_layers=2
    )[2]
    assert found == pytest.approx([1, float(theirs[0]), 0, float(theirs[1]), 1], abs=1e-5)
    assert found[1] < 0.999
    first = MetricContext(models=Models(bertscore=folder, bertscore_layers=1))
    assert spec.score(["bertscore"], truth, said, first)["value"][1] != pytest.approx(found[1], abs=1e-6)


def tiny_clip(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    size = {"shortest_edge": 32}
    pictures = transformers.CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    end = len(vocabulary) - 1
    text = {**sizes, "vocab_size": len(vocabulary), "eos_token_id": end, "bos_token_id": end - 1, "projection_dim": 8}
    vision = {**sizes, "image_size": 32, "patch_size": 16, "projection_dim": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def encoded(colour: tuple[int, int, int]) -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "PNG")
    return out.getvalue()


def test_clip_of_a_tiny_model(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    rows = [{"image_id": f"p{n}", "image": {"bytes": encoded((250 * n, 9, 9)), "path": None}} for n in range(2)]
    pictures = pl.DataFrame(rows).with_columns(width=40, height=40)
    tables.write(conform(pictures, IMAGES.columns), tmp_path / "images-00000.parquet", IMAGES)
    items = pl.DataFrame({"item_id": ["i0", "i1"], "item_index": [0, 1], "image_id": ["p0", "p1"]})
    view = Catalogue(conform(items, ITEMS.columns), frozenset(), (tmp_path / "images-00000.parquet",))
    ids = ["u0", "u1", "u2"]
    truth = pl.DataFrame({"example_id": ids, "item_ids": pl.Series([["i0"], ["i1"], ["i1"]], dtype=STRINGS)})
    shown = [encoded((0, 9, 9)), encoded((9, 99, 9)), None]
    said = pl.DataFrame(
        {"example_id": ids, "image": [s and {"bytes": s, "path": None} for s in shown]},
        schema=dict(PREDICTIONS["image"].columns),
    )
    asked = conform(pl.DataFrame({"example_id": ids, "query": ["toys", "cars", "dolls"]}), EXAMPLES.columns)
    context = MetricContext(view=view, examples=asked, models=Models(clip=folder))
    found = spec.score(["clip_image_image", "clip_text_image"], truth, said, context)
    images, queries = (found.filter(metric=name)["value"].to_list() for name in ("clip_image_image", "clip_text_image"))
    assert images[0] == pytest.approx(1)
    assert all(-1 <= value < 0.99999 for value in [*images[1:], *queries])
    assert np.ptp(queries) > 1e-4
    bare = replace(context, examples=None)
    assert spec.score(["clip_text_image"], truth, said, bare)["value"].null_count() == 3
