"""Patch tokens on disk: computed once, never half, never another tower's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig

from unimp import features
from unimp.errors import CheckpointError, UnimpError
from unimp.features import MANIFEST, TOKENS, encode_pictures
from unimp.pictures import normalised, read_pictures
from unimp.vision import VisionTower

CONFIG = CLIPVisionConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4
)
IDS = [f"p{number}" for number in range(10)]


def encoded(seed: int) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


PICTURES = {name: encoded(number) for number, name in enumerate(IDS)}


class Counting(VisionTower):
    """Counts the pictures it was shown; may be told to fail."""

    seen = 0
    fails_after = 10**9

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.seen >= self.fails_after:
            raise KeyboardInterrupt
        self.seen += len(pixels)
        return super().forward(pixels)


def tower(seed: int = 0, pool: int = 1) -> Counting:
    torch.manual_seed(seed)
    return Counting.from_config(CONFIG, pool)


def read(ids: Sequence[str]) -> Mapping[str, bytes]:
    return {name: PICTURES[name] for name in ids if name in PICTURES}


def test_tokens_are_the_towers_in_half_precision(tmp_path: Path) -> None:
    store = encode_pictures(tmp_path, tower(), IDS, read, batch=3, block=4)
    items = store.items(["p3", None, "p0", "p3"])
    direct = tower()(normalised(read_pictures([PICTURES["p3"], PICTURES["p0"]], 16)))
    found = items[[0, 1, 2, 3, 0]]
    assert found.dtype == torch.float32 and found.shape == (5, 16, 8) and items.shape == (16, 8) and len(items) == 4
    torch.testing.assert_close(found[[0, 2]], direct, atol=5e-3, rtol=1e-3)
    assert torch.equal(found[0], found[3]) and torch.equal(found[0], found[4])
    assert torch.equal(found[1], torch.zeros(16, 8))
    assert items.present.tolist() == [True, False, True, True]
    assert torch.equal(items[torch.tensor([2])], items[np.array([2])])
    assert items[[]].shape == (0, 16, 8)


def test_means_are_those_of_all_patches_block_by_block(tmp_path: Path) -> None:
    own = encode_pictures(tmp_path, tower(), IDS, read).items(["p3", None, "p0", "p3", "p9"])
    assert torch.equal(own.means(block=2), own[np.arange(5)].mean(1))
    assert own.means()[1].abs().sum() == 0


def test_a_second_call_does_not_ask_the_tower(tmp_path: Path) -> None:
    first = encode_pictures(tmp_path, tower(), IDS, read)
    again = tower()
    second = encode_pictures(tmp_path, again, IDS, lambda ids: pytest.fail("pictures were read again"))
    assert again.seen == 0
    assert np.array_equal(first.tokens, second.tokens)


@pytest.mark.parametrize("change", ["weights", "pool", "ids", "order"])
def test_another_request_is_encoded_anew(tmp_path: Path, change: str) -> None:
    encode_pictures(tmp_path, tower(), IDS, read)
    other = tower(seed=int(change == "weights"), pool=2 if change == "pool" else 1)
    ids = {"ids": IDS[:-1], "order": IDS[::-1]}.get(change, IDS)
    store = encode_pictures(tmp_path, other, ids, read)
    assert other.seen == len(ids)
    fresh = encode_pictures(tmp_path / "fresh", other, ids, read)
    assert np.array_equal(store.tokens, fresh.tokens)


def test_a_killed_encode_goes_on_where_it_was_safe(tmp_path: Path) -> None:
    whole = encode_pictures(tmp_path / "whole", tower(), IDS, read, batch=2, block=4)
    killed = tower()
    killed.fails_after = 6  # in the middle of the second block
    with pytest.raises(KeyboardInterrupt):
        encode_pictures(tmp_path / "cut", killed, IDS, read, batch=2, block=4)
    assert not (tmp_path / "cut" / MANIFEST).exists() and not (tmp_path / "cut" / TOKENS).exists()
    rest, told = tower(), []
    store = encode_pictures(
        tmp_path / "cut", rest, IDS, read, batch=2, block=4, report=lambda done, total: told.append((done, total))
    )
    assert rest.seen == 6 and told == [(6, 10), (8, 10), (10, 10)]
    assert np.array_equal(store.tokens, whole.tokens)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [MANIFEST, TOKENS]


@pytest.mark.parametrize("hurt", ["progress", "part", "another tower"])
def test_nothing_doubtful_is_gone_on_from(tmp_path: Path, hurt: str) -> None:
    killed = tower(seed=int(hurt == "another tower"))
    killed.fails_after = 6
    with pytest.raises(KeyboardInterrupt):
        encode_pictures(tmp_path, killed, IDS, read, batch=2, block=4)
    if hurt == "progress":
        (tmp_path / "progress.json").write_text('{"made": ')
    if hurt == "part":
        file = tmp_path / "tokens.npy.part"
        file.write_bytes(file.read_bytes()[:500])
    rest = tower()
    store = encode_pictures(tmp_path, rest, IDS, read)
    assert rest.seen == len(IDS)
    assert np.array_equal(store.tokens, encode_pictures(tmp_path / "fresh", tower(), IDS, read).tokens)


def test_a_kill_between_the_last_renames_is_not_taken_for_whole(tmp_path: Path) -> None:
    encode_pictures(tmp_path, tower(), IDS, read)
    (tmp_path / MANIFEST).unlink()
    again = tower()
    encode_pictures(tmp_path, again, IDS, read)
    assert again.seen == len(IDS)


def test_a_file_damaged_later_is_one_line(tmp_path: Path) -> None:
    encode_pictures(tmp_path, tower(), IDS, read)
    data = (tmp_path / TOKENS).read_bytes()
    for bad in (data[: len(data) // 2], data[:40], b"", b"\x93NUMPY\x01\x00 junk", None):
        (tmp_path / TOKENS).unlink(missing_ok=True)
        if bad is not None:
            (tmp_path / TOKENS).write_bytes(bad)
        with pytest.raises(CheckpointError, match="encode again") as found:
            encode_pictures(tmp_path, tower(), IDS, read)
        assert "\n" not in str(found.value)
    np.save(tmp_path / "tokens", np.zeros((10, 16, 9), dtype=np.float16))
    with pytest.raises(CheckpointError, match="encode again"):
        encode_pictures(tmp_path, tower(), IDS, read)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    encode_pictures(tmp_path, tower(), IDS, read)
    np.save(tmp_path / TOKENS, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="encode again"):
        encode_pictures(tmp_path, tower(), IDS, read)


def test_pictures_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnimpError, match="picture p10 is named by an item but not there"):
        encode_pictures(tmp_path / "absent", tower(), [*IDS, "p10"], read)
    with pytest.raises(UnimpError, match=r"picture p2 .* cannot be read"):
        encode_pictures(tmp_path / "bad", tower(), IDS, lambda ids: {**read(ids), "p2": b"<html>"})
    with pytest.raises(UnimpError, match="picture zz of item 1 is not among the 10"):
        encode_pictures(tmp_path / "good", tower(), IDS, read).items([None, "zz"])


def test_a_value_beyond_half_precision_stops_the_encode(tmp_path: Path) -> None:
    loud = tower()
    loud.model.encoder.layers[0].mlp.fc2.bias.data[2] = 1e5
    with pytest.raises(UnimpError, match="patch tokens of picture p0 are not finite in half precision"):
        encode_pictures(tmp_path, loud, IDS, read)


def test_too_little_room_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: usage)
    quiet = tower()
    with pytest.raises(UnimpError, match="take a larger pool or another folder"):
        encode_pictures(tmp_path, quiet, IDS, read)
    assert quiet.seen == 0


def test_a_shop_without_pictures_has_an_empty_store(tmp_path: Path) -> None:
    for _ in range(2):
        items = encode_pictures(tmp_path, tower(), [], read).items([None, None])
        assert items.present.tolist() == [False, False]
        assert torch.equal(items[[0, 1]], torch.zeros(2, 16, 8))


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path) -> None:
    made = tower()
    encode_pictures(tmp_path, made, IDS, read)
    said = json.loads((tmp_path / MANIFEST).read_text())
    assert said["tower"] == made.fingerprint() and said["shape"] == [10, 16, 8]
    assert (tmp_path / TOKENS).stat().st_size == made.size_in_bytes(10) + 128  # numpy's header
