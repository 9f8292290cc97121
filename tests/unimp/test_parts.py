"""What a store of pictures says of itself, and what becomes of it where it cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tests.unimp import learning_shop, tiny  # noqa: E402
from unimp import parts, standing  # noqa: E402
from unimp.config import PRESETS, UnimpConfig  # noqa: E402
from unimp.errors import CheckpointError, UnimpError  # noqa: E402
from unimp.image_presets import Preset  # noqa: E402
from unimp.image_tokens import ImageTokenizer  # noqa: E402
from unimp.options import Options  # noqa: E402


def test_a_store_covers_what_it_names(tmp_path: Path) -> None:
    items = learning_shop.shop().items
    names = sorted({name for name in items.picture_ids if name is not None})
    assert names and not parts.covers(tmp_path, items)
    (tmp_path / parts.PICTURES).write_text(json.dumps([*names, "another"]))
    assert parts.covers(tmp_path, items)
    (tmp_path / parts.PICTURES).write_text(json.dumps(names[1:]))
    assert not parts.covers(tmp_path, items)


@pytest.mark.parametrize("said", ['["a", "b', "3", ""])
def test_a_damaged_note_is_one_line(tmp_path: Path, said: str) -> None:
    (tmp_path / parts.PICTURES).write_text(said)
    with pytest.raises(CheckpointError, match=r"ids.json is damaged .*; remove") as caught:
        parts.covers(tmp_path, learning_shop.shop().items)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "name", "more"),
    [
        ("some/model", "some/model", {}),
        ("some/model::vqvae", "some/model", {"subfolder": "vqvae"}),
        ("/a/folder::512::unit", "/a/folder", {"size": 512, "unit": True}),
        ("some/model::deep/vqvae::128", "some/model", {"subfolder": "deep/vqvae", "size": 128}),
    ],
)
def test_a_published_codec_says_where_it_is_and_what_it_reads(said: str, name: str, more: dict[str, object]) -> None:
    assert parts.published_codes(said) == (name, more)


@pytest.mark.parametrize("said", ["::vqvae", "some/model::", "some/model::a::b", "some/model::256::512", ""])
def test_a_codec_said_wrongly_is_refused(said: str) -> None:
    with pytest.raises(UnimpError, match="wanted NAME"):
        parts.published_codes(said)


def test_a_published_codec_in_a_subfolder_codes_the_catalogue(tmp_path: Path) -> None:
    published = ImageTokenizer.new(Preset(64, 1, (8, 8), 1, 8, 4, 16, 4, False, 8, 1e-2, 20))
    published.model.save_pretrained(str(tmp_path / "published" / "vqvae"))
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    items = replace(learning_shop.shop().items, pictures=lambda names: dict.fromkeys(names, buffer.getvalue()))
    device, kept = torch.device("cpu"), tmp_path / "kept"
    options = Options(image_codes=f"{tmp_path / 'published'}::vqvae::64::unit")
    made, codes = parts.make_codes(items, options, 0, kept, lambda *_: None, device)
    assert (made.size, made.unit, made.codes_per_picture) == (64, True, 32 * 32)
    assert codes is not None and codes.shape == (len(items), 32 * 32)
    assert [row[0] >= 0 for row in codes.tolist()] == [name is not None for name in items.picture_ids]
    with pytest.raises(UnimpError, match="another image tokenizer"):
        parts.make_codes(items, Options(image_codes=f"{tmp_path / 'published'}::vqvae::64"), 0, kept, print, device)


def test_pictures_that_find_no_place_are_refused() -> None:
    for codes in (16, 64, 256):  # those of the presets
        standing.need_room(codes, 2048)
    with pytest.raises(UnimpError, match=r"3 pictures of 4096 codes, .* take 12288 ids, but the model reads 2048"):
        standing.need_room(4096, 2048)


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_early_fusion_writes_a_picture_once_a_latent(preset: str) -> None:
    options = Options(preset=preset, fusion="early")
    config = UnimpConfig(**PRESETS[preset], fusion="early", text_ids=50, items=5)
    assert standing.style_of(options, config, pictures=True).image_places == config.latents > 1
    config.fusion = "late"
    assert standing.style_of(options, config, pictures=True).image_places == 1


def test_dropout_drops_while_learning_and_never_while_answering() -> None:
    class Encoder:
        size = 60

    made = {}
    for share in (0.0, 0.5):
        own = parts.Parts(Encoder(), None, None, None, None, learning_shop.ITEMS)  # type: ignore[arg-type]
        options = Options(dropout=share, vision="off", item_rows="free")
        made[share] = parts.new_model(parts.config_of(learning_shop.shop(), options, own, 1, 0), options, seed=0)
    ids = tiny.batch(tiny.row(tiny.words(9)))
    for share, model in made.items():
        model.train()
        assert torch.equal(tiny.logits(model, ids, None), tiny.logits(model, ids, None)) is (share == 0), share
        model.train(False)
    assert torch.equal(tiny.logits(made[0.0], ids, None), tiny.logits(made[0.5], ids, None))


def test_drawing_without_diffusers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    items = learning_shop.shop().items
    parts.need_codec(items, ("search", "image_generation"))
    monkeypatch.setattr(parts, "find_spec", lambda _: None)
    with pytest.raises(UnimpError, match=r"pip install diffusers, .* --set learn=search,selection$"):
        parts.need_codec(items, ("search", "image_generation", "selection"))
    parts.need_codec(items, ("search",))
    parts.need_codec(replace(items, picture_ids=(None,) * len(items)), ("image_generation",))
