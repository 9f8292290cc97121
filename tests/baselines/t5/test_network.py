"""P5's network and its answers: losses, the beam held against all ids, labels, adapters, visual tokens, resuming."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

if any(find_spec(name) is None for name in ("torch", "transformers", "tokenizers")):
    pytest.skip("needs PyTorch and transformers: pip install -e '.[unimp]'", allow_module_level=True)

import torch
from PIL import Image
from torch.nn import functional

from tests.baselines.t5 import pieces
from unimp_baselines.t5 import decoding, pictures, training, weights
from unimp_baselines.t5.encoding import Batch, Reader
from unimp_baselines.t5.network import WHOLE_WORDS, Adapter, Extras, Personal
from unimp_baselines.t5.questions import Lessons, Question, Rows
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError

PLAN = training.Plan(
    epochs=3, patience=9, batch=4, lr=0.01, warm_up=0.05, weight_decay=0.0, clip=1.0, windows=1, selections=1,
    history=5, ends="any", nameless=0.2, seed=3, max_seconds=0.0, device="cpu", checkpoint_seconds=0.0,
)  # fmt: skip


def _asked(reader: Reader, count: int = 3) -> Batch:
    questions = [
        Question("recommendation", "ann", ((f"i{k:02d}", None), ("i09", None))[: k % 2 + 1]) for k in range(count)
    ]
    return reader.batch([reader.asked(q, unseen=False, named=True) for q in questions], None, 32)


def _log_chances(model: Personal, batch: Batch, answers: list[list[int]]) -> torch.Tensor:
    """Log-probability of one answer for each question, token by token."""
    given = torch.cat([model.starts(len(answers)), torch.tensor([answer[:-1] for answer in answers]).long()], dim=1)
    states, _ = model.decode(given, model.encode(batch), batch.mask)
    log = model.logits(states).log_softmax(-1)
    return log.gather(2, torch.tensor(answers)[..., None])[..., 0].sum(1)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_wide_beam_scores_every_item_exactly(atomic: bool) -> None:
    own = pieces.known(atomic=atomic)
    model, batch = pieces.network(own), _asked(pieces.reader(own))
    with torch.no_grad():
        found = decoding.item_scores(model, batch, decoding.Tree(own.item_codes()), 100)
        for place in range(20):
            exact = _log_chances(model, batch, [list(own.item_pieces(place))] * 3)
            assert torch.allclose(found[:, place], exact, atol=1e-4)


def test_a_narrow_beam_answers_items_of_the_tree_only_and_with_their_scores() -> None:
    own = pieces.known(items=tuple(f"x{k}" for k in range(500)))  # 1001-1500: six first pairs
    model, batch = pieces.network(own), _asked(pieces.reader(own))
    codes = own.item_codes()
    allowed = np.arange(0, 500, 7)
    wide = decoding.item_scores(model, batch, decoding.Tree(codes[allowed]), 100)
    narrow = decoding.item_scores(model, batch, decoding.Tree(codes[allowed]), 2)
    assert wide.shape == narrow.shape == (3, len(allowed))
    assert bool(torch.isfinite(wide).all())
    reached = torch.isfinite(narrow)
    assert 0 < int(reached[0].sum()) < len(allowed)
    assert torch.allclose(narrow[reached], wide[reached], atol=1e-5)


def test_the_loss_is_the_mean_cross_entropy_of_each_answers_tokens() -> None:
    own = pieces.known()
    reader, model = pieces.reader(own), pieces.network(own)
    answers = [[*own.item_pieces(4), 1], [own.rating(5)[0][0], 1]]
    asked = [Question("recommendation", "ann", (("i00", None),)), Question("preference", "bob", (("i00", 2.0),), "i01")]
    reads = [reader.asked(q, unseen=False, named=True) for q in asked]
    both = model.losses(reader.batch(reads, answers))
    for k in range(2):
        alone = -_log_chances(model, reader.batch([reads[k]], None), [answers[k]]) / len(answers[k])
        assert torch.allclose(both[k], alone[0], atol=1e-4)


def test_answers_do_not_depend_on_padding_or_neighbours() -> None:
    own = pieces.known()
    reader, model = pieces.reader(own), pieces.network(own)
    tree = decoding.Tree(own.item_codes())
    asked = [Question("recommendation", "ann", tuple((f"i{k:02d}", None) for k in range(n))) for n in (1, 9, 3)]
    reads = [reader.asked(q, unseen=False, named=True) for q in asked]
    found: dict[int, torch.Tensor] = {}
    for rows, batch in decoding.batches(reader, reads, "cpu"):
        assert len(batch.tokens) == decoding.ROWS
        scores = decoding.item_scores(model, batch, tree, 5)
        found |= {row: scores[k] for k, row in enumerate(rows)}
    for row, read in enumerate(reads):
        ((_, alone),) = decoding.batches(reader, [read], "cpu")
        assert torch.allclose(decoding.item_scores(model, alone, tree, 5)[0], found[row], atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_text_alone_is_scored_as_the_t5_itself_does(tied: bool) -> None:
    own = pieces.known()
    torch.manual_seed(0)
    config = weights.small(own.text_rows, 16, 1, 2, 0.0).config.to_dict()
    t5 = weights.described({**config, "scale_decoder_outputs": tied}, tied=tied).eval()
    if not tied:
        torch.nn.init.normal_(t5.lm_head.weight)
    model = Personal(t5, Extras(own.added)).eval()
    torch.nn.init.zeros_(model.wholes.weight)
    tokens = torch.randint(3, own.text_rows, (2, 7))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 4:] = False
    given = torch.cat([model.starts(2), torch.tensor([[5, 9], [7, 3]])], dim=1)
    nothing = torch.zeros(0, dtype=torch.int64)
    with torch.no_grad():
        states = model.encode(Batch(tokens, torch.ones_like(tokens), mask, nothing, None))
        ours = model.logits(model.decode(given, states, mask)[0])[..., : own.text_rows]
        theirs = t5(input_ids=tokens, attention_mask=mask.long(), decoder_input_ids=given).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert sum(w.numel() for w in t5.parameters()) == sum(
        w.numel() for n, w in model.named_parameters() if n[:3] == "t5."
    )


def test_words_beyond_the_table_share_its_last_row() -> None:
    own = pieces.known()
    model, reader = pieces.network(own), pieces.reader(own)
    batch = _asked(reader)
    far = Batch(batch.tokens, batch.wholes + 5_000, batch.mask, batch.shown, None)
    last = Batch(batch.tokens, torch.full_like(batch.wholes, WHOLE_WORDS - 1), batch.mask, batch.shown, None)
    assert torch.equal(model.encode(far), model.encode(last))
    assert not torch.allclose(model.encode(far), model.encode(batch))


def test_labels_are_listed_in_order_each_once_and_never_beyond_the_choices() -> None:
    own = pieces.known()
    model, reader = pieces.network(own), pieces.reader(own)
    batch = _asked(reader, 4)
    first = own.label(0)[0][0]
    with torch.no_grad():  # label 1 is always the likeliest, the end the unlikeliest token
        model.added.weight[first + 1 - own.text_rows] *= 50
    listed = decoding.chosen_labels(model, batch, [1, 3, 5, 2], first, 1)
    assert listed[0] == [0]
    for chosen, count in zip(listed, (1, 3, 5, 2), strict=True):
        assert chosen
        assert chosen == sorted(set(chosen))
        assert max(chosen) < count


class _Script:
    """Stands in for a network: says what is written, whatever was asked."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows, self.step = rows, 0

    def logits(self) -> torch.Tensor:
        scores = torch.zeros(len(self.rows), 12)
        for k, row in enumerate(self.rows):
            scores[k, row[min(self.step, len(row) - 1)]] = 5.0
        self.step += 1
        return scores

    def say(self, tokens: torch.Tensor) -> None:
        pass


def test_the_end_token_ends_a_list_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    own = pieces.known()
    model, batch = pieces.network(own), _asked(pieces.reader(own), 3)
    rows = [[8, 10, 1], [9, 1], [1, 1]]  # labels from 8, end 1
    monkeypatch.setattr(decoding, "Saying", lambda *_: _Script(rows))
    listed = decoding.chosen_labels(model, batch, [4, 4, 4], 8, 1)
    assert listed == [[0, 2], [1], [0]]  # at least one label is listed
    said = decoding.sentences(model, batch, 6, 1, 12)
    assert said[:2] == [[8, 10], [9]]
    assert len(said[2]) == 1  # an empty text is no answer


def test_step_by_step_is_the_same_as_at_once() -> None:
    own = pieces.known()
    model, batch = pieces.network(own), _asked(pieces.reader(own))
    saying, tokens = decoding.Saying(model, batch), torch.tensor([[5, 9], [7, 3], [8, 8]])
    with torch.no_grad():
        steps = [saying.logits()]
        for k in range(2):
            saying.say(tokens[:, k])
            steps.append(saying.logits())
        given = torch.cat([model.starts(3), tokens], dim=1)
        states, _ = model.decode(given, model.encode(batch), batch.mask)
        assert torch.allclose(torch.stack(steps, dim=1), model.logits(states), atol=1e-4)


def test_five_stars_are_a_rating() -> None:
    own = pieces.known()
    model, batch = pieces.network(own), _asked(pieces.reader(own))
    tokens = [own.rating(stars)[0][0] for stars in (1, 2, 3, 4, 5)]
    chances = decoding.rating_chances(model, batch, tokens)
    assert chances.shape == (3, 5)
    assert torch.allclose(chances.sum(1), torch.ones(3))


def test_adapters_start_as_nothing_and_alone_are_learned() -> None:
    own = pieces.known()
    batch = _asked(pieces.reader(own))
    plain, adapted = pieces.network(own), pieces.network(own, adapter=4)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain.encode(batch), adapted.encode(batch))
    assert len(adapted.adapters) == 5  # self-attention and feed-forward; self-, cross-attention and feed-forward
    adapted.freeze()
    names = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    kinds = ("adapters.", "added.", "wholes.")
    assert all(name.startswith(kinds) or "layer_norm" in name for name in names)
    assert {kind for kind in kinds if any(name.startswith(kind) for name in names)} == set(kinds)
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    optimizer = torch.optim.SGD([w for w in adapted.parameters() if w.requires_grad], lr=1.0)
    for _ in range(2):  # first the upper half of an adapter, which is zero, then both
        reader = pieces.reader(own)
        read = reader.asked(Question("preference", "ann", (("i00", 2.0),), "i01"), unseen=False, named=True)
        adapted.losses(reader.batch([read], [[own.rating(5)[0][0], 1]])).sum().backward()
        optimizer.step()
    changed = {name for name, weight in adapted.named_parameters() if not torch.equal(weight, before[name])}
    assert changed <= names
    assert {f"adapters.{k}.{half}.weight" for k in range(5) for half in ("up", "down")} <= changed


def test_an_adapter_is_a_bottleneck_beside_the_stream() -> None:
    torch.manual_seed(0)
    adapter = Adapter(16, 8)
    assert adapter.down.weight.shape == (2, 16)
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(3, 16)
    inner = functional.gelu(x @ adapter.down.weight.T + adapter.down.bias)
    assert torch.allclose(adapter(x), x + inner @ adapter.up.weight.T, atol=1e-6)


def test_a_picture_reaches_the_places_after_its_own_item() -> None:
    own = pieces.known()
    reader = pieces.reader(own, pictures=2, pictured=("i00", "i05"))
    model = pieces.network(own, features=3, pictures=2)
    read = reader.asked(Question("preference", "ann", (("i05", 3.0), ("i00", 4.0)), "i07"), unseen=False, named=True)
    batch = reader.batch([read], None)
    given: list[torch.Tensor] = []
    model.t5.encoder.register_forward_pre_hook(
        lambda module, positional, named: given.append(named["inputs_embeds"]), with_kwargs=True
    )
    for second in (1.0, 2.0):
        model.features = torch.tensor([[0.1, 0.2, 0.3], [second, 0.0, -1.0]])  # i00, i05
        model.encode(batch)
    differs = (given[0] != given[1]).any(-1)[0]
    holds = [k for k, token in enumerate(read.tokens) if token == own.picture]
    assert differs.nonzero()[:, 0].tolist() == holds[:2]  # i05 is mentioned first
    assert model.visual is not None
    own_tokens = model.visual(model.features[[1]])
    expected = own_tokens + model.wholes(batch.wholes[0, holds[:2]])
    assert torch.allclose(given[1][0, holds[:2]], expected, atol=1e-6)


def _lessons() -> Lessons:
    rows = [Rows("ann", pieces.ITEMS[:6]), Rows("bob", pieces.ITEMS[5:12]), Rows("cleo", pieces.ITEMS[3:8])]
    rated = [Question("preference", "ann", (("i00", 4.0),), f"i{k:02d}", answer=float(k % 5 + 1)) for k in range(9)]
    chosen = [Question("selection", "bob", (("i05", None),), None, ("i04", "i06"), frozenset({"i06"}))] * 2
    valid = {
        "preference": rated[:2],
        "recommendation": [Question("recommendation", "ann", (("i01", None),), answer="i02")],
    }
    return Lessons(rows, {"preference": rated, "selection": chosen}, valid)


def test_an_epoch_holds_every_task_as_often_as_it_is_asked_to() -> None:
    plan = training.Plan(**{**vars(PLAN), "windows": 2, "selections": 3})
    batches = training.schedule(_lessons(), plan, 0)
    assert all(len({task for task, _ in batch}) == 1 and len(batch) <= 4 for batch in batches)
    drawn = [lesson for batch in batches for lesson in batch]
    assert {task: sum(t == task for t, _ in drawn) for task in ("recommendation", "preference", "selection")} == {
        "recommendation": 6,
        "preference": 9,
        "selection": 6,
    }
    assert training.schedule(_lessons(), plan, 0) == batches
    assert training.schedule(_lessons(), plan, 1) != batches


def _trained(
    folder: Path, stop: int | None = None, *, spoiled: bool = False, **changed: Any
) -> tuple[Personal, dict[str, Any], list[float]]:
    own = pieces.known()
    model, losses = pieces.network(own), []
    steps = 0
    if spoiled:
        torch.nn.init.constant_(model.wholes.weight, float("nan"))

    def told(epoch: int, said: dict[str, float]) -> None:
        losses.append(said["loss"])

    def interrupted(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == stop:
            raise KeyboardInterrupt

    hook = model.t5.decoder.register_forward_pre_hook(lambda module, given: interrupted() if model.training else None)
    plan = training.Plan(**{**vars(PLAN), **changed})
    with torch.random.fork_rng():
        facts = training.train(model, pieces.reader(own), _lessons(), plan, folder / "checkpoint", told)
    hook.remove()
    return model, facts, losses


def test_an_interrupted_training_goes_on_within_its_epoch_as_if_nothing_had_been(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, _, losses = _trained(tmp_path / "a")
    a_step_in_epoch_2 = len(training.schedule(_lessons(), PLAN, 0)) + 3
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "b", stop=a_step_in_epoch_2)
    resumed, _, rest = _trained(tmp_path / "b")
    assert losses[1:] == rest
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_training_stops_by_time_and_by_validation_and_refuses_a_loss_that_is_no_number(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    _, facts, losses = _trained(tmp_path / "a", max_seconds=1e-9)
    assert (facts["epoch"], len(losses)) == (1, 1)
    _, facts, _ = _trained(tmp_path / "b", epochs=40, lr=0.3, patience=1)
    assert facts["epoch"] < 40
    assert facts["best_epoch"] < facts["epoch"]
    with pytest.raises(ConfigError, match="the loss is nan"):
        _trained(tmp_path / "c", spoiled=True)


def test_a_validation_that_is_no_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "valid_losses", lambda *_: {"preference": float("nan")})
    with pytest.raises(ConfigError, match=r"validation gives a loss of nan in epoch 1; set a lower lr"):
        _trained(tmp_path)


def _view(pictured: list[str | None]) -> Catalogue:
    ids = [f"i{k}" for k in range(len(pictured))]
    return Catalogue(
        pl.DataFrame({"item_id": ids, "image_id": pictured}, schema_overrides={"image_id": pl.String}), frozenset(), ()
    )


def test_features_of_a_file_are_those_of_items_with_a_picture(tmp_path: Path) -> None:
    view, table = _view(["a", None, "b"]), np.arange(6, dtype=np.float64).reshape(3, 2)
    np.save(tmp_path / "f.npy", table)
    ids, found = pictures.read(tmp_path / "f.npy", view)
    assert (ids, found.tolist(), found.dtype) == (["i0", "i2"], [[0, 1], [4, 5]], np.float32)
    frame = pl.DataFrame({"item_id": ["i2", "i1"], "features": [[4.0, 5.0], [2.0, 3.0]]})
    frame.write_parquet(tmp_path / "f.parquet")
    ids, found = pictures.read(tmp_path / "f.parquet", view)
    assert (ids, found.tolist()) == (["i2"], [[4, 5]])


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros(3), np.full((3, 2), np.nan), np.array(["a"] * 3)])
def test_features_that_cannot_be_are_refused(tmp_path: Path, wrong: Any) -> None:
    np.save(tmp_path / "f.npy", wrong)
    with pytest.raises(ConfigError, match=r"f\.npy"):
        pictures.read(tmp_path / "f.npy", _view(["a", "b", "c"]))
    with pytest.raises(ConfigError, match="cannot be read"):
        pictures.read(tmp_path / "none.parquet", _view(["a"]))


def test_scales_make_every_number_alike_and_leave_constants() -> None:
    table = np.array([[1, 5], [3, 5]], dtype=np.float32)
    mean, spread = pictures.scales(table)
    assert ((table - mean) / spread).tolist() == [[-1, 0], [1, 0]]


def test_equal_pictures_are_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    Image.new("RGB", (4, 4), (200, 10, 10)).save(file, "PNG")
    monkeypatch.setattr(Catalogue, "pictures", lambda self, ids: {"a": file.getvalue()})
    ids, table = pictures.described(_view(["a", None, "a", "gone"]))
    assert ids == ["i0", "i2"]
    assert table.shape == (2, 64)
    assert np.array_equal(table[0], table[1])
