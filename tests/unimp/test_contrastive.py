"""The small CLIP: what it learns from, and that an interrupted training equals an uninterrupted one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPVisionConfig

from unimp import contrastive
from unimp.contrastive import ContrastiveSettings, train_clip
from unimp.contrastive_losses import info_nce, light_views, thinned, word_loss
from unimp.errors import CheckpointError, TrainingError, UnimpError
from unimp.pictures import Pixels, normalised
from unimp.text import END_ID, TextEncoder, train_tokenizer
from unimp.vision import VisionTower

VISION = CLIPVisionConfig(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
    projection_dim=16,
)
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}
QUICK = ContrastiveSettings(steps=12, batch=8, text_width=16, text_heads=2)


def shop(each: int = 6) -> tuple[Pixels, list[str | None]]:
    """Pictures of one colour under noise; titles name the colour beside words that say nothing."""
    rng = np.random.default_rng(0)
    pictures, titles = [], []
    for number in range(each * len(COLOURS)):
        name, colour = list(COLOURS.items())[number % len(COLOURS)]
        pictures.append(np.clip(rng.normal(colour, 20, (16, 16, 3)), 0, 255).astype(np.uint8))
        titles.append(f"Brand {number % 5} {name} thing No. {number}")
    return np.stack(pictures), titles


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(train_tokenizer([title or "" for title in shop()[1]] * 2, 300))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def equal(left: CLIPModel, right: CLIPModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))


def test_info_nce_by_hand() -> None:
    left = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    right = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    cosines = [[1.0, math.sqrt(0.5)], [0.0, math.sqrt(0.5)]]
    scale = 2.0

    def surprise(own: float, other: float) -> float:
        return math.log1p(math.exp(scale * (other - own)))

    rows = (surprise(cosines[0][0], cosines[0][1]) + surprise(cosines[1][1], cosines[1][0])) / 2
    columns = (surprise(cosines[0][0], cosines[1][0]) + surprise(cosines[1][1], cosines[0][1])) / 2
    found = info_nce(left, right, scale, torch.eye(2, dtype=torch.bool))
    assert float(found) == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_equal_pairs_are_not_told_apart() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    apart = info_nce(rows, rows, 5.0, torch.eye(3, dtype=torch.bool))
    assert float(info_nce(rows, rows, 5.0, same)) < 0.02 < 0.4 < float(apart)


def test_word_loss_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]))
    ids = torch.tensor([[2, 3, 2, END_ID], [1, END_ID, END_ID, END_ID]])
    known = torch.tensor([1.0, 0.0, 1.0, 1.0])  # id 1 is in one title only: nothing of the second row is learned
    wanted = -(math.log(0.3) + math.log(0.4)) / 2 / 2
    assert float(word_loss(logits, ids, known)) == pytest.approx(wanted, rel=1e-5)


def test_thinned_titles_keep_order_and_end() -> None:
    ids = torch.tensor([[5, 6, 7, 8, END_ID], [9, END_ID, END_ID, END_ID, END_ID]])
    seen = {tuple(thinned(ids, 0.5, torch.Generator().manual_seed(seed))[0].tolist()) for seed in range(30)}
    assert len(seen) > 5
    for row in seen:
        kept = [one for one in row if one != END_ID]
        assert kept == sorted(kept) and list(row) == kept + [END_ID] * (5 - len(kept))
    assert torch.equal(thinned(ids, 0.0, torch.Generator()), ids)


def test_views_are_of_the_same_picture_and_keep_its_hue() -> None:
    pixels = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    still = light_views(pixels, torch.Generator().manual_seed(1), 0.0, 0.0, 0.0)
    torch.testing.assert_close(still, pixels, atol=1e-5, rtol=1e-5)
    moved = light_views(pixels, torch.Generator().manual_seed(1), 0.2, 0.1, 0.0)
    assert (moved - pixels).abs().mean() > 0.05
    plain = torch.tensor([0.9, 0.5, 0.1]).reshape(1, 3, 1, 1).expand(4, 3, 16, 16)
    seen = light_views(plain, torch.Generator().manual_seed(1), 0.3, 0.1, 0.2)
    torch.testing.assert_close(seen / seen[:, :1], plain / plain[:, :1])  # ratios of the channels stay
    assert seen.min() >= 0.1 * 0.8 - 1e-6 and seen.max() <= 0.9 * 1.2 + 1e-6
    assert torch.equal(
        light_views(pixels, torch.Generator().manual_seed(3), 0.2, 0.1, 0.1),
        light_views(pixels, torch.Generator().manual_seed(3), 0.2, 0.1, 0.1),
    )


def test_loss_falls_and_pictures_find_their_titles(encoder: TextEncoder) -> None:
    pictures, titles = shop()
    losses: list[float] = []
    settings = ContrastiveSettings(steps=120, batch=24, text_width=16, text_heads=2)
    clip = train_clip(pictures, titles, encoder, VISION, settings, report=lambda step, steps, loss: losses.append(loss))
    assert len(losses) == 120 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    words = encoder.encode([f" {name} thing" for name in COLOURS])
    ids = torch.zeros(len(words), max(map(len, words)) + 1, dtype=torch.long)
    for row, one in enumerate(words):
        ids[row, : len(one)] = torch.from_numpy(one.astype(np.int64))
    with torch.no_grad():
        seen = clip(input_ids=ids, pixel_values=normalised(pictures)).logits_per_image  # (24, 4)
    right = (seen.argmax(dim=1) == torch.arange(24) % 4).float().mean()
    assert float(right) > 0.7  # chance is 0.25


def test_patch_tokens_of_the_last_layer_are_trained(encoder: TextEncoder) -> None:
    pictures, titles = shop()
    trained = train_clip(pictures, titles, encoder, VISION, QUICK)
    start = train_clip(pictures, titles, encoder, VISION, ContrastiveSettings(**{**vars(QUICK), "learning_rate": 0.0}))
    tower, before = VisionTower.from_clip(trained), VisionTower.from_clip(start)
    pixels = normalised(pictures)
    assert (tower(pixels) - before(pixels)).abs().mean() > 0.05
    assert not trained.training


@pytest.mark.parametrize("stopped", [3, 8])
def test_an_interrupted_training_equals_a_whole_one(tmp_path: Path, encoder: TextEncoder, stopped: int) -> None:
    pictures, titles = shop()
    whole = train_clip(pictures, titles, encoder, VISION, QUICK)
    assert equal(whole, train_clip(pictures, titles, encoder, VISION, QUICK))

    def stop(step: int, steps: int, loss: float) -> None:
        if step == stopped:
            raise KeyboardInterrupt

    file, steps = tmp_path / "clip.pt", []
    with pytest.raises(KeyboardInterrupt):
        train_clip(pictures, titles, encoder, VISION, QUICK, checkpoint=file, every=5, report=stop)
    torch.manual_seed(stopped)  # what the process has drawn meanwhile is of no matter
    again = train_clip(
        pictures, titles, encoder, VISION, QUICK, checkpoint=file, every=5, report=lambda s, n, v: steps.append(s)
    )
    assert steps[0] == (6 if stopped > 5 else 1)
    assert equal(whole, again)
    done = train_clip(pictures, titles, encoder, VISION, QUICK, checkpoint=file, report=lambda s, n, v: pytest.fail())
    assert equal(whole, done)


def test_training_leaves_the_processs_random_state_alone(encoder: TextEncoder) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train_clip(*shop(2), encoder, VISION, ContrastiveSettings(steps=2, batch=4, text_width=16, text_heads=2))
    assert torch.equal(torch.rand(3), wanted)


def test_another_seed_gives_another_tower(encoder: TextEncoder) -> None:
    other = ContrastiveSettings(**{**vars(QUICK), "seed": 1, "steps": 2})
    same = ContrastiveSettings(**{**vars(QUICK), "steps": 2})
    assert not equal(train_clip(*shop(2), encoder, VISION, other), train_clip(*shop(2), encoder, VISION, same))


def test_each_epoch_shows_every_picture_once() -> None:
    for epoch in range(2):
        rows = torch.cat([contrastive._batch_rows(12, 4, 3 * epoch + place, 0) for place in range(3)])
        assert sorted(rows.tolist()) == list(range(12))
    orders = [contrastive._batch_rows(12, 12, epoch, 0).tolist() for epoch in range(2)]
    assert orders[0] != orders[1]


def test_pictures_without_titles_learn_from_views_alone(encoder: TextEncoder) -> None:
    pictures, titles = shop(2)
    settings = ContrastiveSettings(steps=3, batch=8, text_width=16, text_heads=2)
    nameless = train_clip(pictures, [None] * len(titles), encoder, VISION, settings)
    assert equal(nameless, train_clip(pictures, [""] * len(titles), encoder, VISION, settings))
    assert not equal(nameless, train_clip(pictures, titles, encoder, VISION, settings))
    mixed: list[str | None] = [None, *titles[1:]]
    assert not equal(nameless, train_clip(pictures, mixed, encoder, VISION, settings))


def test_a_title_longer_than_the_text_encoder_is_cut(encoder: TextEncoder) -> None:
    pictures, titles = shop(2)
    settings = ContrastiveSettings(steps=1, batch=8, text_width=16, text_heads=2, text_tokens=4)
    clip = train_clip(pictures, [f"{title} " * 50 for title in titles], encoder, VISION, settings)
    assert clip.config.text_config.max_position_embeddings == 4


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def breaks(*args: object) -> torch.Tensor:
        calls.append(1)
        return word_loss(*args) * (float("nan") if len(calls) > 2 * 6 else 1.0)  # two terms a step

    monkeypatch.setattr(contrastive, "word_loss", breaks)
    file = tmp_path / "clip.pt"
    with pytest.raises(TrainingError, match="loss is nan and the gradient's norm nan at step 6"):
        train_clip(*shop(2), encoder, VISION, QUICK, checkpoint=file, every=5)
    assert torch.load(file, weights_only=True)["step"] == 5


def test_a_gradient_that_is_no_number_stops_before_it_spoils_the_weights(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def steep(*args: object) -> torch.Tensor:
        calls.append(1)
        loss = word_loss(*args)
        if len(calls) > 2 * 4:  # two terms a step
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(contrastive, "word_loss", steep)
    file = tmp_path / "clip.pt"
    with pytest.raises(TrainingError, match="gradient's norm nan at step 4"):
        train_clip(*shop(2), encoder, VISION, QUICK, checkpoint=file, every=1)
    kept = torch.load(file, weights_only=True)
    assert kept["step"] == 4 and all(bool(w.isfinite().all()) for w in kept["model"].values())


def test_bad_input_is_one_line(tmp_path: Path, encoder: TextEncoder) -> None:
    pictures, titles = shop(2)
    with pytest.raises(TrainingError, match="cannot learn from 1 pictures"):
        train_clip(pictures[:1], titles[:1], encoder, VISION, QUICK)
    with pytest.raises(UnimpError, match="one title a picture"):
        train_clip(pictures, titles[:-1], encoder, VISION, QUICK)
    file = tmp_path / "clip.pt"
    file.write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(CheckpointError, match="is damaged"):
        train_clip(pictures, titles, encoder, VISION, QUICK, checkpoint=file)
    file.unlink()
    train_clip(pictures, titles, encoder, VISION, ContrastiveSettings(**{**vars(QUICK), "steps": 1}), checkpoint=file)
    with pytest.raises(CheckpointError, match="is of another training"):
        train_clip(pictures, titles, encoder, VISION, QUICK, checkpoint=file)
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(TrainingError, match="cannot be written"):
        train_clip(pictures, titles, encoder, VISION, QUICK, checkpoint=tmp_path / "taken" / "clip.pt", every=1)
