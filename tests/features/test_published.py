"""Encoders with published weights, on tiny random ones that are made here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from tests.features.known import catalogue
from tests.metrics.test_models import tiny_bert, tiny_clip
from tests.shop import home_at
from unimp_bench import hub
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.descriptor import decode
from unimp_bench.errors import ConfigError
from unimp_bench.features import sentence
from unimp_bench.features.clip import Clip
from unimp_bench.features.sentence import Sentence
from unimp_bench.runners.protocol import Context

TITLES = ["so soft", None, "the very nice fabric fits", "well", "so soft"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Dataset.open(home_at(tmp_path_factory.mktemp("published") / "home"), "shop").catalogue()


def _states(folder: Path, text: str) -> np.ndarray:
    """Last states `(tokens, width)` of one text, nothing padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.asarray(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0])


def test_sentences_are_means_of_states(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, present = Sentence(str(bert)).encode(catalogue(TITLES), Context(0, tmp_path))
    assert present.tolist() == [True, False, True, True, True]
    assert values.shape == (5, 16)
    for row in (0, 2, 3):
        mean = _states(bert, TITLES[row] or "").mean(axis=0)
        assert np.allclose(values[row], mean / np.linalg.norm(mean), atol=1e-5)
    assert np.array_equal(values[0], values[4])
    assert not values[1].any()
    monkeypatch.setattr(sentence, "_BATCH", 1)
    alone, _ = Sentence(str(bert)).encode(catalogue(TITLES[::-1]), Context(0, tmp_path))
    assert np.allclose(alone[::-1], values, atol=1e-5)


def test_a_folder_may_ask_for_the_first_state(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    shutil.copytree(bert, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    values, _ = Sentence(str(folder)).encode(catalogue(TITLES), Context(0, tmp_path))
    first = _states(bert, "well")[0]
    assert np.allclose(values[3], first / np.linalg.norm(first), atol=1e-5)
    assert Sentence(str(folder)).identity() != Sentence(str(bert)).identity()
    (folder / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="no JSON object"):
        Sentence(str(folder)).encode(catalogue(TITLES), Context(0, tmp_path))


def test_identities_name_weights_not_places(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bert, folder)
    assert Sentence(str(folder)).identity() == Sentence(str(bert)).identity()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert Sentence(str(folder)).identity() != Sentence(str(bert)).identity()


def test_clip_gives_the_pooled_vector(clip: Path, view: Catalogue, tmp_path: Path) -> None:
    values, present = Clip(str(clip)).encode(view, Context(0, tmp_path))
    assert values.shape == (20, 16)
    assert int(present.sum()) == 19
    assert not values[~present].any()
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    processor = transformers.CLIPImageProcessor.from_pretrained(clip)
    for row in np.flatnonzero(present)[:3]:
        image = view.items["image_id"][int(row)]
        picture = decode(view.pictures([image])[image])
        with torch.inference_mode():
            pooled = model.vision_model(**processor(images=picture, return_tensors="pt")).pooler_output[0].numpy()
        assert np.allclose(values[row], pooled / np.linalg.norm(pooled), atol=1e-5)
    turned = replace(view, items=view.items.with_columns(pl.col("image_id").reverse()))
    assert np.allclose(Clip(str(clip)).encode(turned, Context(0, tmp_path))[0], values[::-1], atol=1e-6)


def _copy(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


def test_folders_that_are_not_loaded(bert: Path, clip: Path, view: Catalogue, tmp_path: Path) -> None:
    context = Context(0, tmp_path)

    def refused(encoder: Sentence | Clip, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            encoder.identity()
            encoder.encode(view, context)
        assert "\n" not in str(caught.value)

    refused(Sentence(str(tmp_path / "nowhere")), "there is no such folder")
    (tmp_path / "empty").mkdir()
    refused(Clip(str(tmp_path / "empty")), "has no config.json")
    refused(Clip(str(bert)), "holds a model of type bert; wanted a CLIP")
    pickled = _copy(bert, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused(Sentence(str(pickled)), "has no .*safetensors, and weights of other formats are not read")
    coded = _copy(bert, tmp_path / "coded")
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    refused(Sentence(str(coded)), "brings code of its own, which is never run")
    torn = _copy(clip, tmp_path / "torn")
    data = (torn / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(Clip(str(torn)), "cannot be loaded")
    bare = _copy(clip, tmp_path / "bare")
    for file in ("preprocessor_config.json", "processor_config.json"):
        (bare / file).unlink(missing_ok=True)
    refused(Clip(str(bare)), "cannot be loaded")
    half = _copy(clip, tmp_path / "half")
    from safetensors.numpy import load_file, save_file

    kept = {k: v for k, v in load_file(half / "model.safetensors").items() if "vision_model.post_layernorm" not in k}
    save_file(kept, half / "model.safetensors", {"format": "pt"})
    refused(Clip(str(half)), "lacks 2 weights")


def test_hub_names_are_looked_up(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def found(name: str, *, weights: tuple[str, ...], where: str) -> tuple[Path | None, str]:
        asked.append((name, weights))
        return (bert, "") if name == "org/tiny" else (None, f"{name} is not in the hub's cache {where}")

    monkeypatch.setattr(hub, "from_hub", found)
    assert Sentence("org/tiny").identity() == Sentence(str(bert)).identity()
    with pytest.raises(ConfigError, match="'clip:org/none': org/none is not in the hub's cache after clip:"):
        Clip("org/none").identity()
    assert asked == [("org/tiny", ("model*.safetensors",)), ("org/none", ("model*.safetensors",))]
