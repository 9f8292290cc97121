"""The image tokenizer: codebook upkeep, training, resuming, files."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from unimp import image_training  # noqa: E402
from unimp.errors import CheckpointError, TrainingError, UnimpError  # noqa: E402
from unimp.image_codebook import Codebook, kmeans, nearest, usage  # noqa: E402
from unimp.image_pixels import psnr  # noqa: E402
from unimp.image_presets import PRESETS, Preset  # noqa: E402
from unimp.image_tokens import FACTS, ImageTokenizer  # noqa: E402
from unimp.image_training import reconstruction_loss  # noqa: E402

TOY = Preset(16, 4, (8, 8), 1, 8, 4, 16, 4, False, 8, 1e-2, 20)  # 2 x 2 codes


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(count=24, size=16, seed=0):
    """Pictures of two halves, each of one colour."""
    rng = np.random.default_rng(seed)
    out = np.empty((count, size, size, 3), dtype=np.uint8)
    out[:, : size // 2] = rng.integers(0, 256, (count, 1, 1, 3))
    out[:, size // 2 :] = rng.integers(0, 256, (count, 1, 1, 3))
    return out


def as_png(picture):
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def weights(tokenizer):
    return {name: value.clone() for name, value in tokenizer.model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# The codebook


def test_nearest_by_hand():
    book = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    assert nearest(torch.tensor([[1.5, 0.1], [0.2, 0.9], [0.1, 1.9]]), book).tolist() == [1, 0, 2]


def test_usage_by_hand():
    used, perplexity = usage(torch.tensor([[0, 0, 1, 1], [0, 0, 3, 3]]), 8)
    assert used == 3 / 8
    assert perplexity == pytest.approx(math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4)))
    assert usage(torch.arange(8), 8) == (1.0, pytest.approx(8))
    assert usage(torch.zeros(5, dtype=torch.long), 8) == (1 / 8, pytest.approx(1))


def test_kmeans_finds_clusters_that_stand_apart():
    spots = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(1)) * 0.1
    vectors = (spots[:, None] + noise).flatten(0, 1)
    found = kmeans(vectors, 3, torch.Generator().manual_seed(0))
    ordered = found[nearest(spots, found)]
    assert torch.allclose(ordered, vectors.view(3, 50, 2).mean(1), atol=1e-5)


def test_kmeans_stands_fewer_vectors_than_codes():
    found = kmeans(torch.ones(3, 2), 5, torch.Generator().manual_seed(0))
    assert torch.equal(found, torch.ones(5, 2))


def test_a_code_moves_to_the_mean_of_its_vectors():
    weight = torch.tensor([[0.0], [10.0]])
    book = Codebook(weight)
    book.load, book.total = torch.tensor([2.0, 2.0]), torch.tensor([[0.0], [20.0]])
    vectors, generator = torch.tensor([[1.0], [1.0], [12.0], [14.0]]), torch.Generator()
    book.update(vectors, torch.tensor([0, 0, 1, 1]), generator)
    # 0.95 old + 0.05 new, of sums and of loads: (0.05 * 2) / 2 and (0.95 * 20 + 0.05 * 26) / 2
    assert weight.flatten().tolist() == pytest.approx([0.05, 10.15])


def test_a_dead_code_is_put_on_a_vector_of_the_step():
    weight = torch.tensor([[0.0], [1000.0]])
    book = Codebook(weight)
    book.load, book.total = torch.tensor([4.0, 1e-4]), torch.tensor([[0.0], [0.1]])
    vectors = torch.tensor([[3.0], [3.0], [3.0], [3.0]])
    calm = weight.clone()
    book.update(vectors, torch.zeros(4, dtype=torch.long), torch.Generator(), revive=False)
    assert book.revived == 0 and weight[1] == pytest.approx(float(calm[1]), rel=1e-3)
    book.update(vectors, torch.zeros(4, dtype=torch.long), torch.Generator())
    assert book.revived == 1 and weight[1] == pytest.approx(3.0)


def test_revival_lifts_usage_of_a_codebook_that_fell_on_one_code():
    generator = torch.Generator().manual_seed(0)
    weight = torch.cat([torch.zeros(1, 2), torch.full((15, 2), 50.0)])
    book = Codebook(weight)
    book.load, book.total = torch.ones(16), weight.clone()
    vectors = torch.randn(64, 2, generator=generator)
    before = usage(nearest(vectors, weight), 16)[0]
    for _ in range(120):
        book.update(vectors, nearest(vectors, weight), generator)
    assert before == 1 / 16
    assert usage(nearest(vectors, weight), 16)[0] > 0.9


# Losses


def test_the_loss_of_one_shade_of_grey_by_hand():
    due = torch.zeros(2, 3, 16, 16)
    # No gradient, no colour: |d| + d^2 and half of |d| at both cells.
    assert float(reconstruction_loss(due + 0.5, due)) == pytest.approx(0.5 + 0.25 + 2 * 0.5 * 0.5)
    assert float(reconstruction_loss(due, due)) == 0


def test_a_wrong_colour_costs_more_than_a_wrong_brightness():
    due = torch.zeros(1, 3, 16, 16)
    red = torch.tensor([0.5, -0.5, 0.5]).view(1, 3, 1, 1).expand_as(due)
    assert reconstruction_loss(red, due) > reconstruction_loss(due + 0.5, due)


# Training


def test_the_loss_falls_and_the_report_is_true():
    pictures = pixels(40)
    tokenizer = ImageTokenizer.new(TOY, seed=1)
    blank = psnr(tokenizer.reconstruct(pictures), pictures)
    losses = []
    trained = tokenizer.train(
        pictures, seed=1, steps=60, preset=TOY, validation=0.25, report=lambda step, share, loss: losses.append(loss)
    )
    assert trained is not None
    assert (trained.steps, len(losses), trained.pictures, trained.held_out) == (60, 60, 30, 10)
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    assert psnr(tokenizer.reconstruct(pictures), pictures) > blank + 0.7
    assert (trained.used, trained.perplexity) == usage(torch.from_numpy(tokenizer.encode(pictures)), 16)
    assert trained.parameters == sum(p.numel() for p in tokenizer.model.parameters())


def test_held_out_pictures_are_not_learned_from():
    pictures, other = pixels(20), pixels(20)
    held = np.random.default_rng([3, 1]).permutation(20)[:5]
    other[held] = 255 - other[held]
    made = []
    for source in (pictures, other):
        tokenizer = ImageTokenizer.new(TOY, seed=3)
        tokenizer.train(source, seed=3, steps=4, preset=TOY, validation=0.25)
        made.append(weights(tokenizer))
    assert same(*made)


def test_a_seed_decides_everything_and_leaves_the_global_state_alone():
    state, made = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        tokenizer = ImageTokenizer.new(TOY, seed=seed)
        tokenizer.train(pixels(), seed=seed, steps=6, preset=TOY)
        made.append(weights(tokenizer))
    assert same(made[0], made[1]) and not same(made[0], made[2])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("stop_at", [1, 3, 9])  # before the codebook starts (step 3 of 20 is 15 %) and after
def test_an_interrupted_training_equals_an_uninterrupted_one(tmp_path, stop_at):
    file, pictures = tmp_path / "deep" / "state.safetensors", pixels()
    whole = ImageTokenizer.new(TOY, seed=5)
    due = whole.train(pictures, seed=5, steps=20, preset=TOY)
    broken = ImageTokenizer.new(TOY, seed=5)
    assert broken.train(pictures, seed=5, steps=20, preset=TOY, checkpoint=file, stop_at=stop_at) is None
    steps = []
    again = ImageTokenizer.new(TOY, seed=99)  # what it starts from must not matter
    found = again.train(
        pictures, seed=5, steps=20, preset=TOY, checkpoint=file, report=lambda step, share, loss: steps.append(step)
    )
    assert steps[0] == stop_at + 1
    assert due is not None and found is not None
    assert same(weights(whole), weights(again))
    assert replace(due, seconds=0) == replace(found, seconds=0)


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    file = tmp_path / "state.safetensors"
    ImageTokenizer.new(TOY).train(pixels(), steps=9, preset=TOY, checkpoint=file, stop_at=2)
    with pytest.raises(CheckpointError, match="other settings or pictures"):
        ImageTokenizer.new(TOY).train(pixels(seed=1), steps=9, preset=TOY, checkpoint=file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        ImageTokenizer.new(TOY).train(pixels(), steps=9, preset=TOY, checkpoint=file)


def test_a_loss_that_is_no_number_names_the_step_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    file, tokenizer = tmp_path / "state.safetensors", ImageTokenizer.new(TOY)
    honest, calls = reconstruction_loss, []

    def broken(made, due):
        calls.append(1)
        return honest(made, due) * (float("nan") if len(calls) == 7 else 1)

    monkeypatch.setattr(image_training, "reconstruction_loss", broken)
    with pytest.raises(TrainingError, match=r"loss is nan and its gradient.s norm nan at step 7;") as caught:
        tokenizer.train(pixels(), steps=20, preset=TOY, checkpoint=file, every=5)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert all(bool(value.isfinite().all()) for value in weights(tokenizer).values())
    steps = []
    tokenizer.train(
        pixels(), steps=20, preset=TOY, checkpoint=file, report=lambda step, share, loss: steps.append(step)
    )
    assert steps[0] == 6


def test_no_room_for_a_checkpoint_is_one_line_and_keeps_the_last(tmp_path, monkeypatch):
    file = tmp_path / "state.safetensors"
    ImageTokenizer.new(TOY).train(pixels(), steps=9, preset=TOY, checkpoint=file, stop_at=2)
    kept = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_training.safetensors.torch, "save_file", full)
    with pytest.raises(TrainingError, match=r"cannot be written at step 4.*No space left"):
        ImageTokenizer.new(TOY).train(pixels(), steps=9, preset=TOY, checkpoint=file, every=4)
    assert file.read_bytes() == kept


def test_a_preset_knows_its_steps():
    trained = ImageTokenizer.new(TOY).train(pixels(), preset=TOY)
    assert trained is not None and trained.steps == TOY.steps == 20
    assert trained.seconds > 0


def test_no_pictures_is_said():
    with pytest.raises(UnimpError, match="no pictures"):
        ImageTokenizer.new(TOY).train([], steps=1, preset=TOY)


def test_one_picture_is_enough():
    trained = ImageTokenizer.new(TOY).train(pixels(1), steps=8, preset=TOY)
    assert trained is not None and (trained.pictures, trained.held_out) == (1, 0)


# Codes and pictures


def test_encoded_files_and_their_pixels_have_the_same_codes():
    tokenizer, pictures = ImageTokenizer.new(TOY), pixels(7)
    codes = tokenizer.encode(pictures, batch=3)
    assert codes.shape == (7, 4) and codes.dtype == np.int64
    assert np.array_equal(codes, tokenizer.encode([as_png(p) for p in pictures]))


def test_codes_are_those_of_the_models_own_quantiser():
    tokenizer, pictures = ImageTokenizer.new(TOY), pixels(6)
    tokenizer.train(pictures, steps=8, preset=TOY)
    with torch.no_grad():
        values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        folded = torch.nn.functional.pixel_unshuffle(values, 4)
        latents = tokenizer.model.encode(folded).latents
        due = tokenizer.model.quantize(latents)[2][2].view(6, 4)
        made = torch.nn.functional.pixel_shuffle(tokenizer.model.decode(latents).sample, 4)
    codes = tokenizer.encode(pictures)
    assert np.array_equal(codes, due.numpy())
    due_pixels = ((made + 1) / 2).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.abs(tokenizer.decode_pixels(codes).astype(int) - due_pixels).max() <= 1


def test_decoded_pictures_and_their_png():
    tokenizer = ImageTokenizer.new(TOY)
    codes = np.array([[0, 1, 2, 3], [15, 15, 15, 15], [0, 0, 0, 0]])
    pictures = tokenizer.decode(codes)
    assert [p.size for p in pictures] == [(16, 16)] * 3 and pictures[0].mode == "RGB"
    read = [np.asarray(Image.open(BytesIO(data))) for data in tokenizer.decode_png(codes)]
    assert np.array_equal(read, np.stack([np.asarray(p) for p in pictures]))


@pytest.mark.parametrize(
    ("codes", "said"),
    [([[1, 2, 3]], "takes 4 codes"), ([[0, 0, 0, 16]], "ends at 15"), ([[-1, 0, 0, 0]], "codes -1 to 0")],
)
def test_codes_that_cannot_be_are_refused(codes, said):
    with pytest.raises(UnimpError, match=said):
        ImageTokenizer.new(TOY).decode(np.array(codes))


def test_wrong_pixels_and_unreadable_pictures_are_named():
    tokenizer = ImageTokenizer.new(TOY)
    with pytest.raises(UnimpError, match=r"takes uint8 \(n, 16, 16, 3\)"):
        tokenizer.encode(np.zeros((2, 3, 16, 16), dtype=np.uint8))
    with pytest.raises(UnimpError, match="picture number 1 "):
        tokenizer.encode([as_png(pixels(1)[0]), b"<html>"])


def test_codes_are_kept_by_tokenizer_and_ids(tmp_path):
    tokenizer, files = ImageTokenizer.new(TOY), dict(zip("abcde", [as_png(p) for p in pixels(5)], strict=True))
    asked = []

    def read(ids):
        asked.append(list(ids))
        return {name: files[name] for name in ids if name in files}

    codes = tokenizer.encode_cached("edcba", read, tmp_path, batch=2, block=3)
    assert np.array_equal(codes, tokenizer.encode(list(files.values()))[::-1])
    assert asked == [["e", "d", "c"], ["b", "a"]]
    assert np.array_equal(tokenizer.encode_cached("edcba", read, tmp_path), codes) and len(asked) == 2
    assert np.array_equal(tokenizer.encode_cached("abcd", read, tmp_path), codes[:0:-1]) and len(asked) == 3
    ImageTokenizer.new(TOY, seed=1).encode_cached("edcba", read, tmp_path)
    assert len(asked) == 4 and len(list(tmp_path.iterdir())) == 3
    with pytest.raises(UnimpError, match="picture x is not in the dataset"):
        tokenizer.encode_cached("ax", read, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="damaged"):
        tokenizer.encode_cached("edcba", read, tmp_path)


# Files


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), SafetensorError("File too large")])
def test_no_room_for_the_tokenizer_is_one_line_and_nothing_is_there(tmp_path, monkeypatch, problem):
    tokenizer = ImageTokenizer.new(TOY)

    def full(*_, **__):
        raise problem

    monkeypatch.setattr(tokenizer.model, "save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*(No space|too large)") as caught:
        tokenizer.save(tmp_path / "tokenizer")
    assert "\n" not in str(caught.value) and not (tmp_path / "tokenizer" / FACTS).exists()


def test_save_and_load_give_the_same_tokenizer(tmp_path):
    tokenizer = ImageTokenizer.new(TOY)
    trained = tokenizer.train(pixels(), steps=6, preset=TOY)
    tokenizer.save(tmp_path / "deep" / "tokenizer", trained)
    again = ImageTokenizer.load(tmp_path / "deep" / "tokenizer")
    assert same(weights(tokenizer), weights(again)) and again.digest() == tokenizer.digest()
    assert (again.size, again.patch, again.codes, again.codes_per_picture) == (16, 4, 16, 4)
    assert np.array_equal(again.encode(pixels()), tokenizer.encode(pixels()))
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.part"))
    facts = json.loads((tmp_path / "deep" / "tokenizer" / "image_tokenizer.json").read_text())
    assert facts["trained"]["steps"] == 6


def test_a_truncated_file_is_one_line(tmp_path):
    ImageTokenizer.new(TOY).save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    data = file.read_bytes()
    for length in (len(data) - 64, 5, 0):
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError) as caught:
            ImageTokenizer.load(tmp_path)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_what_is_no_whole_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no whole image tokenizer"):
        ImageTokenizer.load(tmp_path)
    ImageTokenizer.new(TOY).save(tmp_path)
    ImageTokenizer.new(TOY, seed=1).model.save_pretrained(str(tmp_path))
    with pytest.raises(CheckpointError, match="changed since"):
        ImageTokenizer.load(tmp_path)


def published(folder, **changed):
    """A VQModel as projects publish them: three channels, its own sizes."""
    from diffusers import VQModel

    settings = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "num_vq_embeddings": 32,
        "norm_num_groups": 4,
    }
    torch.manual_seed(0)
    VQModel(**settings | changed).save_pretrained(str(folder))


def test_a_published_model_is_read(tmp_path):
    published(tmp_path / "whole" / "vqvae", lookup_from_codebook=True, norm_type="spatial", block_out_channels=(32, 32))
    tokenizer = ImageTokenizer.load_published(tmp_path / "whole", subfolder="vqvae", size=16, unit=True)
    assert (tokenizer.codes, tokenizer.codes_per_picture, tokenizer.patch) == (32, 64, 1)
    codes = tokenizer.encode(pixels(2))
    with torch.no_grad():
        due = tokenizer.model.decode(
            torch.from_numpy(codes).flatten(), force_not_quantize=True, shape=(2, 8, 8, 4)
        ).sample
    due = due.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.abs(tokenizer.decode_pixels(codes).astype(int) - due).max() <= 1
    tokenizer.save(tmp_path / "own")
    assert ImageTokenizer.load(tmp_path / "own").unit


def test_a_published_model_that_does_not_fit_is_refused(tmp_path):
    published(tmp_path)
    with pytest.raises(UnimpError, match="multiple of 2"):
        ImageTokenizer.load_published(tmp_path, size=15)
    from safetensors.torch import load_file, save_file

    (file,) = tmp_path.glob("*.safetensors")
    state = load_file(file)
    del state["quantize.embedding.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights, quantize\.embedding\.weight"):
        ImageTokenizer.load_published(tmp_path, size=16)
    with pytest.raises(CheckpointError, match="no VQModel can be read"):
        ImageTokenizer.load_published(tmp_path / "nothing" / "here", size=16)


# Presets and the import rule


def test_sizes_of_the_presets():
    assert {name: preset.codes_a_side**2 for name, preset in PRESETS.items()} == {"tiny": 16, "small": 64, "paper": 256}
    tiny = ImageTokenizer.new("tiny")
    assert (tiny.size, tiny.codes, tiny.codes_per_picture) == (64, 256, 16)
    assert tiny.parameters < 450_000
    with pytest.raises(UnimpError, match="known: tiny, small, paper"):
        ImageTokenizer.new("large")


def test_diffusers_is_imported_when_used_only():
    code = "import sys, unimp.image_tokens; print('diffusers' in sys.modules, 'polars' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    said = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["False", "False"]
