"""Who sees which picture: the exclusive mask, its cost, and the variants beside it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.unimp.tiny import NEOX, batch, blind_of, config, logits, model, patches, row, words
from unimp.fusion import GatedCrossAttention, Media, block_layers
from unimp.resampler import Resampler
from unimp.routes import GROUP, Routes
from unimp.vocabulary import Vocabulary

IMAGE = Vocabulary.of(config()).image
A, B, C = words(4, 10), words(5, 11), words(3, 12)
TWO = row([0, *A, IMAGE, *B, IMAGE, *C])  # text before any picture, a picture's text, another's
FIRST, SECOND = 1 + len(A), 2 + len(A) + len(B)  # places of the two <image>


def other(seen: Tensor, picture: int) -> Tensor:
    """The same patches, but those of one picture."""
    return torch.cat([seen[:picture], patches(1, seed=77), seen[picture + 1 :]])


def test_a_picture_changes_nothing_before_it() -> None:
    made, seen, given = model(), patches(2), batch(TWO, pictures=2)
    old, new = logits(made, given, seen), logits(made, given, other(seen, 1))
    assert torch.equal(old[:, :SECOND], new[:, :SECOND])
    assert (old[:, SECOND:] - new[:, SECOND:]).abs().amax(-1).min() > 1e-3


def test_the_first_picture_is_out_of_sight_after_the_second() -> None:
    """Self-attention is made silent, as it carries what earlier tokens saw to later ones."""
    made, seen, given = model(), patches(2), batch(TWO, pictures=2)
    blind_of(made)
    old, new = logits(made, given, seen), logits(made, given, other(seen, 0))
    assert torch.equal(old[:, SECOND:], new[:, SECOND:])
    assert (old[:, FIRST:SECOND] - new[:, FIRST:SECOND]).abs().amax(-1).min() > 1e-3


def test_without_the_exclusive_mask_it_stays_in_sight() -> None:
    made, seen, given = model(exclusive=False), patches(2), batch(TWO, pictures=2)
    blind_of(made)
    old, new = logits(made, given, seen), logits(made, given, other(seen, 0))
    assert (old[:, FIRST:] - new[:, FIRST:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("exclusive", [True, False])
def test_text_before_the_first_picture_sees_none(exclusive: bool) -> None:
    made, given = model(exclusive=exclusive), batch(TWO, pictures=2)
    nothing = batch({**TWO, "slots": [-1] * len(TWO["ids"]), "which": [-1] * len(TWO["ids"])})
    with_pictures, without = logits(made, given, patches(2)), logits(made, nothing, None)
    assert torch.allclose(with_pictures[:, :FIRST], without[:, :FIRST], atol=1e-6)
    assert (with_pictures[:, FIRST] - without[:, FIRST]).abs().max() > 1e-3


def test_pictures_that_move_with_their_text_move_the_answers() -> None:
    made, seen = model(), patches(2)
    blind_of(made)
    chunk_1, chunk_2 = [IMAGE, *B], [IMAGE, *C]
    one = logits(made, batch(row(chunk_1 + chunk_2), pictures=2), seen)
    swapped = logits(made, batch(row(chunk_2 + chunk_1), pictures=2), seen.flip(0))
    assert torch.allclose(one, torch.cat([swapped[:, len(chunk_2) :], swapped[:, : len(chunk_2)]], dim=1), atol=1e-5)


def test_rows_of_a_batch_see_their_own_pictures_only() -> None:
    made, seen = model(), patches(3)
    both = batch(TWO, row([0, *C, IMAGE, *A], pictures=2), pictures=3)
    alone = batch(row([0, *C, IMAGE, *A]), pictures=1)
    long = 2 + len(C) + len(A)
    assert torch.allclose(logits(made, both, seen)[1:, :long], logits(made, alone, seen[2:]), atol=1e-5)


def test_closed_gates_leave_the_language_model_exactly_as_it_is() -> None:
    made, blind = model(gate=0.0), model(fusion="none")
    missing = blind.load_state_dict(made.state_dict(), strict=False)
    assert not missing.missing_keys
    given = batch(TWO, pictures=2)
    assert torch.equal(logits(made, given, patches(2)), logits(blind, given, None))
    assert made.blocks["1"].gate_attention.item() == 0


def test_closed_gates_let_gradients_reach_gates_only() -> None:
    made = model(gate=0.0)
    made.head(made.read(batch(TWO, pictures=2), patches(2))).square().sum().backward()
    for name, parameter in made.blocks.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().max() > 0) == ("gate" in name), name


def attention_by_hand(block: GatedCrossAttention, x: Tensor, latents: Tensor, slots: Tensor) -> Tensor:
    """Dense scores of every token and every picture, masked: the form of the paper's eq. 3."""
    q = block.to_q(block.norm(x)).unflatten(-1, (block.heads, -1))
    k, v = (part.unflatten(-1, (block.heads, -1)) for part in block.to_kv(latents).chunk(2, dim=-1))
    scores = torch.einsum("bihd,pjhd->bhipj", q, k) / math.sqrt(q.shape[-1])
    seen = slots[..., None] == torch.arange(len(latents))
    scores = scores.masked_fill(~seen[:, None, :, :, None], -math.inf).flatten(-2)
    weights = scores.softmax(-1).nan_to_num(0.0).unflatten(-1, latents.shape[:2])
    mixed = block.to_out(torch.einsum("bhipj,pjhd->bihd", weights, v).flatten(-2))
    x = x + torch.tanh(block.gate_attention) * mixed
    out: Tensor = x + torch.tanh(block.gate_feed) * block.feed(x)
    return out


def small_block() -> GatedCrossAttention:
    torch.manual_seed(3)
    return GatedCrossAttention(width=16, media_width=12, heads=2, head_width=8, times=2, gate=0.7)


def test_groups_give_what_a_dense_mask_gives() -> None:
    block, x, latents = small_block(), torch.randn(3, 100, 16), torch.randn(4, 5, 12)
    slots = torch.randint(-1, 4, (3, 100)).sort(dim=1).values
    with torch.no_grad():
        wanted = attention_by_hand(block, x, latents, slots)
        assert torch.allclose(block(x, Media(latents, slots)), wanted, atol=1e-5)
        assert torch.allclose(block(x, Media(latents, slots, Routes.of(slots))), wanted, atol=1e-5)
        dense = Media(latents, slots, visible=slots.unsqueeze(-1) == torch.arange(4))
        assert torch.allclose(block(x, dense), wanted, atol=1e-5)


def test_gradients_of_groups_are_those_of_a_dense_mask() -> None:
    block, x, latents = small_block(), torch.randn(2, 40, 16), torch.randn(3, 5, 12)
    slots = torch.randint(-1, 3, (2, 40)).sort(dim=1).values
    found = []
    for run in (lambda: block(x, Media(latents, slots)), lambda: attention_by_hand(block, x, latents, slots)):
        block.zero_grad()
        run().square().sum().backward()
        found.append([parameter.grad.clone() for parameter in block.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(list(block.parameters()))
    for ours, wanted in zip(*found, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-4)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many scores each call of attention computes."""
    counted: list[int] = []
    original = functional.scaled_dot_product_attention

    def counting(q: Tensor, k: Tensor, v: Tensor, *mask: Tensor, **kwargs: Tensor) -> Tensor:
        counted.append(q.shape[:-1].numel() * k.shape[-2])
        return original(q, k, v, *mask, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counting)
    return counted


def test_the_cost_of_a_token_does_not_grow_with_other_pictures(scores: list[int]) -> None:
    block, x = small_block(), torch.randn(1, 20 * GROUP, 16)
    for pictures in (1, 5, 20):
        slots = torch.arange(pictures).repeat_interleave(20 * GROUP // pictures).unsqueeze(0)
        block(x, Media(torch.randn(pictures, 5, 12), slots))
        block(x, Media(torch.randn(pictures, 5, 12), slots, visible=slots.unsqueeze(-1) == torch.arange(pictures)))
    grouped, dense = scores[::2], scores[1::2]
    assert grouped == [2 * 20 * GROUP * 5] * 3
    assert dense == [grouped[0], 5 * grouped[0], 20 * grouped[0]]


def test_a_picture_that_nobody_sees_costs_nothing(scores: list[int]) -> None:
    block, x, slots = small_block(), torch.randn(1, 10, 16), torch.zeros(1, 10, dtype=torch.long)
    alone = block(x, Media(torch.ones(1, 5, 12), slots))
    beside = block(x, Media(torch.cat([torch.ones(1, 5, 12), torch.randn(30, 5, 12)]), slots))
    assert scores[0] == scores[1]
    assert torch.allclose(alone, beside, atol=1e-6)


@pytest.mark.parametrize("kind", ["cross_attention", "pooled", "early", "late"])
def test_every_variant_is_moved_by_its_pictures(kind: str) -> None:
    made, seen = model(fusion=kind), patches(2)
    runs = 3 if kind == "early" else 1
    given = batch(row([0, *A, *[IMAGE] * runs, *B, *[IMAGE] * runs, *C], runs=runs), pictures=2)
    old, new = logits(made, given, seen), logits(made, given, other(seen, 1))
    second = 1 + len(A) + runs + len(B)
    assert torch.equal(old[:, :second], new[:, :second])
    assert (old[:, second:] - new[:, second:]).abs().amax(-1).min() > 1e-5


@pytest.mark.parametrize("kind", ["cross_attention", "pooled", "early", "late"])
def test_every_variant_learns_to_see(kind: str) -> None:
    made = model(fusion=kind)
    runs = 3 if kind == "early" else 1
    given = batch(row([0, *[IMAGE] * runs, *B, *[IMAGE] * runs, *C], runs=runs), pictures=2)
    made.head(made.read(given, patches(2))).square().sum().backward()
    seeing = [(n, p) for n, p in made.named_parameters() if n.startswith(("resampler", "projection", "blocks"))]
    assert seeing
    for name, parameter in seeing:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_blind_variant_has_no_eyes() -> None:
    made, given = model(fusion="none"), batch(TWO, pictures=2)
    assert not any(name.startswith(("resampler", "projection", "blocks")) for name in made.state_dict())
    assert torch.equal(logits(made, given, patches(2)), logits(made, given, None))


def test_early_fusion_gives_each_place_its_own_latent() -> None:
    made = model(fusion="early", text={**NEOX, "num_hidden_layers": 1})
    blind_of(made)
    seen, runs = patches(1), 3
    given = batch(row([IMAGE] * runs, runs=runs), pictures=1)
    with torch.no_grad():
        wanted = made.projection.project(made.latents(seen)[0])  # type: ignore[union-attr]
        got = made.projection(torch.zeros(1, runs, 32), Media(made.latents(seen), given.slots), given.which)  # type: ignore[misc]
    assert torch.allclose(got[0], wanted)


def test_blocks_stand_before_every_nth_layer() -> None:
    assert block_layers(32, 2) == list(range(1, 32, 2))
    assert block_layers(24, 1) == list(range(24))
    assert block_layers(32, 4) == [3, 7, 11, 15, 19, 23, 27, 31]
    assert list(model().blocks) == ["1", "3"]


def resampled_by_hand(made: Resampler, media: Tensor) -> Tensor:
    """The recurrence of the module's head, one picture and one head at a time."""
    out = []
    for picture in media:
        latents = made.latents
        for layer in made.layers:
            assert isinstance(layer, nn.Module)
            own, seen = layer.norm_latents(latents), layer.norm_media(picture)
            q, kv = layer.to_q(own), layer.to_kv(torch.cat([seen, own]))
            size = q.shape[1] // layer.heads
            heads = []
            for head in range(layer.heads):
                cut = slice(head * size, (head + 1) * size)
                k, v = kv[:, : q.shape[1]][:, cut], kv[:, q.shape[1] :][:, cut]
                heads.append(torch.softmax(q[:, cut] @ k.T / math.sqrt(size), dim=1) @ v)
            latents = latents + layer.to_out(torch.cat(heads, dim=1))
            latents = latents + layer.feed(latents)
        out.append(made.norm(latents))
    return torch.stack(out)


def test_the_resampler_computes_its_formula() -> None:
    torch.manual_seed(0)
    made, media = Resampler(24, latents=3, layers=2, heads=2, head_width=8, times=2), patches(4)
    with torch.no_grad():
        assert torch.allclose(made(media), resampled_by_hand(made, media), atol=1e-5)


def test_the_resampler_takes_pictures_one_by_one() -> None:
    made, media = Resampler(24, latents=3, layers=2, heads=2, head_width=8, times=2), patches(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        assert torch.allclose(made(media)[order], made(media[order]), atol=1e-6)
        assert made(media[:0]).shape == (0, 3, 24)
