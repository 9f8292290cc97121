"""Every kind of answer of tiny random models, against one slow and obvious computation each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, LogitsProcessor, LogitsProcessorList, MptConfig

from unimp.batching import collate
from unimp.config import UnimpConfig
from unimp.decoding import Decoder
from unimp.errors import UnimpError
from unimp.modeling import Unimp
from unimp.prompts import OFFICIAL_CODE
from unimp.sequence import Style, Writer
from unimp.shop import Example
from unimp.trie import Trie, TrieProcessor
from unimp.vocabulary import Vocabulary

TEXT, ITEMS, LABELS, CODES = 80, 12, 4, 8
LEVELS, CODEBOOK = 3, 4
SEMANTIC = np.stack([np.arange(ITEMS) % 3, np.arange(ITEMS) // 6, np.arange(ITEMS) % 4], axis=1)
HAS_PICTURE = np.array([i % 5 != 4 for i in range(ITEMS)])


def encode(text: str) -> list[int]:
    return [1 + ord(c) % (TEXT - 1) for c in text][::4]


def decode(ids: list[int]) -> str:
    assert all(0 < i < TEXT for i in ids)
    return " ".join(map(str, ids))


def make(
    *, semantic: bool = False, style: Style | None = None, mpt: bool = False, tokens: int = 16_384, **more: object
):
    torch.manual_seed(0)
    body = GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        rotary_pct=1.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    if mpt:
        body = MptConfig(d_model=32, n_heads=2, n_layers=2, max_seq_len=512)
    config = UnimpConfig(
        body,
        text_ids=TEXT,
        candidates=LABELS,
        items=ITEMS,
        image_codes=CODES,
        item_levels=LEVELS if semantic else 1,
        codebook=CODEBOOK if semantic else 0,
        latents=3,
        resampler_layers=1,
        resampler_heads=2,
        cross_heads=2,
        head_width=8,
        gate=0.5,
        **more,
    )
    model = Unimp(config).eval()
    with torch.no_grad():  # larger than at the start of training, so that answers differ
        torch.manual_seed(5)
        for table in (model.embed.text, model.embed.new, model.head.text, model.head.new):
            table.weight.normal_(std=0.7)
        for name, weight in model.named_parameters():
            if name.startswith("body") and weight.dim() == 2:
                weight.normal_(std=0.4)
        model.embed.new.weight[:4] *= 0.1  # else every answer follows from the `<answer>` id alone
    vocabulary = Vocabulary.of(config, SEMANTIC if semantic else None)
    rng = np.random.default_rng(1)
    bodies = [rng.integers(1, TEXT, 2 + i % 4).astype(np.int32) for i in range(ITEMS)]
    codes = rng.integers(0, CODES, (ITEMS, 5))
    writer = Writer(vocabulary, bodies, bodies, encode, style or Style(), codes=codes)
    table = torch.as_tensor(rng.normal(size=(ITEMS, 6, config.vision_width)), dtype=torch.float32)
    return Decoder(model, writer, lambda items: table[items], HAS_PICTURE, tokens=tokens)


def example(seed: int, **more: object) -> Example:
    rng = np.random.default_rng(seed)
    length = seed % 5
    history = rng.integers(0, ITEMS, length)
    given = {
        "query": f"query number {seed}",
        "target": int(rng.integers(ITEMS)),
        "candidates": tuple(int(i) for i in rng.permutation(ITEMS)[: 3 + seed % 2]),
        **more,
    }
    ratings = rng.integers(1, 6, length).astype(np.float32)
    return Example(f"e{seed}", "in_domain", history, ratings, [None] * length, **given)


EXAMPLES = [example(seed) for seed in range(7)]


def shout(decoder: Decoder, ids: list[int], loud: float) -> None:
    """Give ids the same logit after whatever was read, and the others none of it."""
    model = decoder.model
    with torch.no_grad():
        model.body.final_layer_norm.bias[0] = 1000.0
        weights = torch.cat([model.head.text.weight, model.head.new.weight])
        weights[:, 0] = 0
        weights[ids] = 0
        weights[ids, 0] = loud / 1000
        model.head.text.weight.copy_(weights[:TEXT])
        model.head.new.weight.copy_(weights[TEXT:])


def slow_last(decoder: Decoder, task: str, one: Example, answer: tuple[int, ...] = ()) -> torch.Tensor:
    """Log-probabilities of all ids after a prompt and the start of its answer: one row, tree mask, no cache."""
    row = decoder.writer.trunk(one.history, one.ratings, one.whys)
    decoder.writer.branch(row, task, one, learn=False)
    for i in answer:
        for values, value in (
            (row.ids, i),
            (row.labels, -100),
            (row.positions, row.positions[-1] + 1),
            (row.segments, row.segments[-1]),
            (row.horizon, row.horizon[-1]),
            (row.items, row.items[-1]),
            (row.which, -1),
            (row.kinds, -1),
            (row.weights, 1.0),
        ):
            values.append(value)
    batch = collate([row], HAS_PICTURE, decoder.vocabulary.pad)
    patches = decoder.reader.patches(batch.pictures) if len(batch.pictures) else None
    with torch.no_grad():
        return decoder.model.head(decoder.model.read(batch, patches)[0, -1]).log_softmax(-1)


MASKS = [{"exclusive": False}, {"overview": True}, {"exclusive": False, "overview": False}]
VARIANTS = [{}, *MASKS, {"fusion": "none"}, {"fusion": "late"}, {"fusion": "pooled"}]


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_item_logits_are_those_of_one_row_read_alone(more):
    decoder = make(**more)
    for task in ("recommendation", "search"):
        scores = decoder.rank(task, EXAMPLES, log=True)
        ids = decoder.vocabulary.item_ids
        for one, found in zip(EXAMPLES, scores, strict=True):
            wanted = slow_last(decoder, task, one)[ids.start : ids.stop].numpy()
            np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert decoder.rank("search", EXAMPLES).std() > 0.1


@pytest.mark.parametrize("more", VARIANTS, ids=str)
def test_codes_written_with_a_cache_are_those_of_one_row_read_alone(more):
    decoder = make(**more)
    rows = [decoder.prompt("image_generation", one) for one in EXAMPLES]
    codes = decoder.picture_codes(rows, 5)
    start, stop = decoder.vocabulary.pictures.start, decoder.vocabulary.pictures.stop
    for one, found in zip(EXAMPLES, codes, strict=True):
        written: tuple[int, ...] = ()
        for _ in range(5):
            written += (start + int(slow_last(decoder, "image_generation", one, written)[start:stop].argmax()),)
        assert [start + int(c) for c in found] == list(written)
    assert len(np.unique(codes, axis=0)) > 3


class Only(LogitsProcessor):
    """Allows some ids; the end not as the first one."""

    def __init__(self, allowed: range | list[int], prompt: int) -> None:
        self.allowed, self.prompt = list(allowed), prompt

    def __call__(self, input_ids, scores):
        kept = torch.full_like(scores, -torch.inf)
        kept[:, self.allowed] = scores[:, self.allowed]
        if input_ids.shape[1] == self.prompt:
            kept[:, 0] = -torch.inf
        return kept


def test_a_search_by_names_finds_items_of_its_own_only() -> None:
    whole = make(semantic=True)
    searched = np.arange(ITEMS) % 3 == 1
    own = Decoder(whole.model, whole.writer, whole.reader.patches, HAS_PICTURE, searched=searched)
    every, found = (one.rank("search", EXAMPLES, k=ITEMS, beams=64) for one in (whole, own))
    assert np.isfinite(every).all()
    np.testing.assert_allclose(found[:, searched], every[:, searched], atol=1e-5)
    assert np.isneginf(found[:, ~searched]).all()


def by_generate(decoder: Decoder, task: str, processor, **how: object):
    """Answers of transformers' `generate`, all examples in one batch padded at the front."""
    rows = [decoder.prompt(task, one) for one in EXAMPLES]
    batch = collate(rows, HAS_PICTURE, decoder.vocabulary.pad, left=True)
    width = batch.ids.shape[1]
    model = decoder.model
    with torch.no_grad(), model.seeing(model.latents(decoder.reader.patches(batch.pictures))):
        out = model.generate(
            batch.ids,
            attention_mask=(batch.segments >= 0).long(),
            slots=batch.slots,
            which=batch.which,
            logits_processor=LogitsProcessorList([processor(width)]),
            early_stopping=how.get("num_beams", 1) > 1,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
            **how,
        )
    return out.sequences[:, width:], out.get("sequences_scores")


def test_item_logits_order_items_as_constrained_beam_search_does():
    decoder = make()
    trie = Trie.of(decoder.vocabulary.items_named(range(ITEMS)))
    written, _ = by_generate(
        decoder,
        "search",
        lambda width: TrieProcessor(trie, width, 0),
        num_beams=ITEMS,
        num_return_sequences=ITEMS,
        max_new_tokens=1,
    )
    wanted = written.view(len(EXAMPLES), ITEMS).numpy() - decoder.vocabulary.item_ids.start
    np.testing.assert_array_equal(decoder.rank("search", EXAMPLES).argsort(1)[:, ::-1], wanted)
    for method in ("item_logits", "constrained_beam"):
        items, scores = decoder.rank_top("search", EXAMPLES, ITEMS, method=method, log=True)
        np.testing.assert_array_equal(items, wanted)
        np.testing.assert_allclose(
            scores, np.take_along_axis(decoder.rank("search", EXAMPLES, log=True), items, 1), atol=1e-4
        )


def test_a_long_catalogue_is_ranked_in_parts(monkeypatch):
    decoder = make()
    whole = decoder.rank("search", EXAMPLES)
    monkeypatch.setattr("unimp.ranking.CHUNK", 5)
    monkeypatch.setattr("unimp.beams.MOST_LOGITS", 1)
    np.testing.assert_allclose(decoder.rank("search", EXAMPLES), whole, atol=1e-5)
    items, _ = decoder.rank_top("search", EXAMPLES, 4)
    np.testing.assert_array_equal(items, whole.argsort(1)[:, ::-1][:, :4])
    items, scores = decoder.rank_top("search", EXAMPLES, ITEMS + 2, log=True)
    assert (items[:, ITEMS:] == -1).all() and np.isneginf(scores[:, ITEMS:]).all()
    assert np.exp(scores[:, :ITEMS]).sum(1).max() < 1


def exhaustive(decoder: Decoder, one: Example) -> np.ndarray:
    """Log-probability of every item's whole name, each id from a row of its own."""
    scores = np.zeros(ITEMS, dtype=np.float32)
    for item in range(ITEMS):
        name = decoder.vocabulary.item(item)
        scores[item] = sum(float(slow_last(decoder, "search", one, tuple(name[:k]))[name[k]]) for k in range(len(name)))
    return scores


@pytest.mark.parametrize("more", [{}, {"exclusive": False}], ids=str)
def test_a_wide_search_over_semantic_ids_is_exhaustive(more):
    decoder = make(semantic=True, **more)
    found = decoder.rank("search", EXAMPLES[2:5], k=ITEMS)
    for one, scores in zip(EXAMPLES[2:5], found, strict=True):
        np.testing.assert_allclose(scores, exhaustive(decoder, one), atol=2e-4)


def test_a_narrow_search_over_semantic_ids_is_that_of_generate():
    decoder = make(semantic=True)
    trie = Trie.of(decoder.vocabulary.items_named(range(ITEMS)))
    written, wanted = by_generate(
        decoder,
        "search",
        lambda width: TrieProcessor(trie, width, 0),
        num_beams=3,
        num_return_sequences=3,
        max_new_tokens=LEVELS,
        length_penalty=0.0,
    )
    items, scores = decoder.rank_top("search", EXAMPLES, 3)
    np.testing.assert_array_equal(items, trie.item[trie.walk(written)].view(-1, 3).numpy())
    np.testing.assert_allclose(scores, wanted.view(-1, 3).numpy(), atol=1e-4)
    assert np.isneginf(decoder.rank("search", EXAMPLES, k=3)).sum() == len(EXAMPLES) * (ITEMS - 3)


def test_a_free_search_keeps_the_ranks_of_what_is_no_item():
    decoder = make()
    items, scores = decoder.rank_top("search", EXAMPLES, 30, method="free_beam")
    start = decoder.vocabulary.item_ids.start
    some_item = False
    for one, found, own in zip(EXAMPLES, items, scores, strict=True):
        after = slow_last(decoder, "search", one)
        after[list(decoder.vocabulary.never_generated)] = -torch.inf
        wanted = after.argsort(descending=True)[:30].numpy() - start
        np.testing.assert_array_equal(found, np.where(wanted >= 0, wanted, -1))
        assert np.isneginf(own[found < 0]).all() and np.isfinite(own[found >= 0]).all()
        some_item |= bool((found >= 0).any())
    assert some_item and (items < 0).any()
    semantic = make(semantic=True)
    items, _ = semantic.rank_top("search", EXAMPLES, 20, method="free_beam")
    assert (items < 0).any()


def test_ratings_are_those_of_the_five_rating_ids():
    decoder = make()
    expected, likeliest = decoder.rate(EXAMPLES)
    rates = decoder.vocabulary.rates
    for k, one in enumerate(EXAMPLES):
        chance = slow_last(decoder, "preference", one)[rates.start : rates.stop].softmax(-1).numpy()
        assert expected[k] == pytest.approx((chance * [1, 2, 3, 4, 5]).sum(), abs=1e-4)
        assert likeliest[k] == chance.argmax() + 1


def slow_choice(decoder: Decoder, one: Example) -> tuple[list[int], np.ndarray, np.ndarray]:
    labels = decoder.vocabulary.choices
    left, written, rounds = list(range(len(one.candidates))), (), []
    while True:
        ids = [labels[k] for k in left] + [0]
        chance = slow_last(decoder, "selection", one, written)[ids].softmax(-1).tolist()
        rounds.append(dict(zip(left, chance, strict=False)))
        pick = int(np.argmax(chance[:-1] if not written else chance))
        if pick == len(left):
            break
        written += (labels[left.pop(pick)],)
        if not left:
            break
    missed = [np.prod([1 - r.get(k, 0.0) for r in rounds]) for k in range(len(one.candidates))]
    return (
        sorted(i - labels.start for i in written),
        np.array([rounds[0][k] for k in range(len(one.candidates))]),
        1 - np.array(missed),
    )


def test_selection_writes_labels_of_the_candidates_once_and_ends():
    decoder = make()
    shout(decoder, [0], 2)
    chosen, path = decoder.choose(EXAMPLES)
    _, first = decoder.choose(EXAMPLES, score="first")
    for k, one in enumerate(EXAMPLES):
        wanted, at_first, along = slow_choice(decoder, one)
        assert chosen[k] == wanted
        np.testing.assert_allclose(first[k], at_first, atol=1e-4)
        np.testing.assert_allclose(path[k], along, atol=1e-4)
    assert len({len(c) for c in chosen}) > 1
    for score, own in (("first", first), ("path", path)):
        by_threshold, again = decoder.choose(EXAMPLES, mode="threshold", threshold=0.3, score=score)
        for c, s, o in zip(by_threshold, again, own, strict=True):
            np.testing.assert_allclose(s, o, atol=1e-5)
            assert c == ([k for k in range(len(s)) if s[k] >= 0.3] or [int(s.argmax())])


def test_a_model_that_wants_to_end_at_once_still_chooses_and_explains():
    decoder = make()
    shout(decoder, [0], 100)
    assert all(len(c) == 1 for c in decoder.choose(EXAMPLES)[0])
    assert all(len(told.split()) == 1 for told in decoder.explain(EXAMPLES, decode, most_words=3))


def test_candidates_beyond_the_labels_score_nothing():
    decoder = make()
    many = example(3, candidates=tuple(range(LABELS + 2)))
    chosen, scores = decoder.choose([many, EXAMPLES[0]])
    assert scores[0].shape == (LABELS + 2,) and (scores[0][LABELS:] == 0).all() and max(chosen[0]) < LABELS


@pytest.mark.parametrize("beams", [1, 3])
def test_explanations_are_those_of_generate(beams):
    decoder = make()
    shout(decoder, [0], 8)
    written, _ = by_generate(
        decoder,
        "explanation",
        lambda width: Only(range(TEXT), width),
        num_beams=beams,
        max_new_tokens=9,
        renormalize_logits=True,
    )
    wanted = [decode(ids[: ids.index(0)] if 0 in ids else ids) for ids in written.tolist()]
    assert decoder.explain(EXAMPLES, decode, beams=beams, most_words=9) == wanted
    assert len({len(w.split()) for w in wanted}) > 1, "some end early"


def test_joint_answers_are_a_rating_and_then_text():
    decoder = make(style=Style(words=OFFICIAL_CODE, joint=True))
    told = decoder.explain(EXAMPLES, decode, most_words=4)
    _, stars = decoder.rate(EXAMPLES)
    for one, text, rating in zip(EXAMPLES, told, stars, strict=True):
        written = (decoder.vocabulary.rate(int(rating)),)
        for number in text.split():
            chances = slow_last(decoder, "explanation", one, written)[:TEXT]
            chances[0] = -torch.inf if len(written) == 1 else chances[0]
            assert int(chances.argmax()) == int(number)
            written += (int(number),)


def test_no_batch_and_no_order_changes_an_answer():
    one_by_one, reverse = make(tokens=1), EXAMPLES[::-1]
    together = make()
    for task in ("recommendation", "search"):
        np.testing.assert_allclose(
            together.rank(task, EXAMPLES), one_by_one.rank(task, reverse)[::-1], atol=1e-4, rtol=0
        )
    for semantic in (False, True):
        a, b = make(semantic=semantic), make(semantic=semantic, tokens=1)
        np.testing.assert_array_equal(
            a.rank_top("search", EXAMPLES, 4, beams=5)[0], b.rank_top("search", reverse, 4, beams=5)[0][::-1]
        )
    np.testing.assert_allclose(together.rate(EXAMPLES)[0], one_by_one.rate(reverse)[0][::-1], atol=1e-4)
    assert together.choose(EXAMPLES)[0] == one_by_one.choose(reverse)[0][::-1]
    for beams in (1, 4):
        told = together.explain(EXAMPLES, decode, beams=beams, most_words=6)
        assert told == one_by_one.explain(reverse, decode, beams=beams, most_words=6)[::-1]
        assert len(set(told)) > 3
    rows = [together.prompt("image_generation", one) for one in EXAMPLES]
    keys = [one.id for one in EXAMPLES]
    drawn = together.picture_codes(rows, 5, temperature=2.0, keys=keys, seed=3)
    alone = one_by_one.picture_codes(rows[::-1], 5, temperature=2.0, keys=keys[::-1], seed=3)
    np.testing.assert_array_equal(drawn, alone[::-1])
    assert (drawn != together.picture_codes(rows, 5, temperature=2.0, keys=keys, seed=4)).any()
    np.testing.assert_array_equal(
        together.picture_codes(rows, 5), together.picture_codes(rows, 5, temperature=2.0, top_k=1, keys=keys)
    )


def test_codes_are_drawn_as_often_as_the_model_says():
    decoder = make()
    one, n = EXAMPLES[3], 2000
    row = decoder.prompt("image_generation", one)
    codes = decoder.picture_codes([row] * n, 1, temperature=3.0, top_k=4, keys=[str(i) for i in range(n)])
    pictures = decoder.vocabulary.pictures
    logits = slow_last(decoder, "image_generation", one)[pictures.start : pictures.stop] / 3
    logits[logits < logits.topk(4).values[-1]] = -torch.inf
    chance = logits.softmax(-1).numpy()
    often = np.bincount(codes[:, 0], minlength=CODES) / n
    assert (np.abs(often - chance) <= 4 * np.sqrt(chance * (1 - chance) / n)).all() and (often > 0).sum() > 1


def test_ids_that_no_answer_may_hold_are_never_written():
    decoder = make()
    never = list(decoder.vocabulary.never_generated)
    shout(decoder, never, 100)
    assert int(slow_last(decoder, "explanation", EXAMPLES[0]).argmax()) in never
    assert all(decoder.explain(EXAMPLES, decode, beams=2, most_words=4))  # `decode` refuses what is no text
    rows = [decoder.prompt("image_generation", one) for one in EXAMPLES]
    codes = decoder.picture_codes(rows, 5)
    assert codes.min() >= 0 and codes.max() < CODES
    assert max(map(max, decoder.choose(EXAMPLES)[0])) < 4
    best = decoder.rank("search", EXAMPLES).argmax(1)
    items, _ = decoder.rank_top("search", EXAMPLES, decoder.vocabulary.size, method="free_beam")
    assert [row[row >= 0][0] for row in items] == best.tolist()


def test_a_question_shares_a_history_with_others_or_not():
    decoder = make()
    one = EXAMPLES[4]
    row = decoder.writer.trunk(one.history, one.ratings, one.whys)
    ends = []
    for task in ("preference", "recommendation", "search"):
        decoder.writer.branch(row, task, one, learn=False)
        ends.append(len(row) - 1)
    batch = collate([row], HAS_PICTURE, decoder.vocabulary.pad)
    with torch.no_grad():
        hidden = decoder.model.read(batch, decoder.reader.patches(batch.pictures))[0, ends]
        logits = decoder.model.head.some(hidden, decoder.vocabulary.item_ids).numpy()
    for task, packed in zip(("recommendation", "search"), logits[1:], strict=True):
        np.testing.assert_allclose(decoder.rank(task, [one])[0], packed, atol=1e-4)


def test_an_answer_sees_the_last_picture_of_the_history():
    decoder = make()
    one = next(e for e in EXAMPLES if len(e.history) and HAS_PICTURE[e.history[-1]])
    stream = next(decoder.reader.streams("recommendation", [one]))[1]
    shown = np.unique(one.history[HAS_PICTURE[one.history]])
    assert shown[int(stream.slots)] == one.history[-1]


def test_empty_and_long_histories():
    decoder = make(style=Style(longest=70))
    empty = dataclasses.replace(EXAMPLES[0], history=EXAMPLES[0].history[:0], ratings=EXAMPLES[0].ratings[:0], whys=())
    assert np.isfinite(decoder.rank("recommendation", [empty])).all()
    assert decoder.dropped == 0
    decoder.rank("search", EXAMPLES)
    assert decoder.dropped > 0
    assert max(len(decoder.prompt("search", one, 10)) for one in EXAMPLES) <= 60
    assert decoder.rank("search", []).shape == (0, ITEMS)
    assert decoder.explain([], decode) == [] and decoder.choose([]) == ([], [])


def test_mpt_reads_and_writes_alike():
    decoder = make(mpt=True)
    scores = decoder.rank("search", EXAMPLES)
    np.testing.assert_allclose(scores, make(mpt=True, tokens=1).rank("search", EXAMPLES), atol=1e-4)
    rows = [decoder.prompt("image_generation", one) for one in EXAMPLES]
    np.testing.assert_array_equal(decoder.picture_codes(rows, 4), make(mpt=True, tokens=1).picture_codes(rows, 4))


def test_half_precision_gives_items_scores_of_their_own():
    decoder = make()
    decoder.model.to(torch.bfloat16)
    scores = decoder.rank("search", EXAMPLES)
    assert scores.dtype == np.float32
    assert (scores != torch.as_tensor(scores).bfloat16().float().numpy()).any()
    assert all(decoder.explain(EXAMPLES, decode, beams=2, most_words=3))


def test_the_model_learns_on_where_it_was_learning():
    decoder = make()
    decoder.model.train()
    decoder.rate(EXAMPLES[:1])
    assert decoder.model.training


def test_unknown_ways_are_refused():
    with pytest.raises(UnimpError, match="known: item_logits, constrained_beam, free_beam"):
        make().rank("search", EXAMPLES, method="magic")
    with pytest.raises(UnimpError, match="take constrained_beam"):
        make(semantic=True).rank("search", EXAMPLES, method="item_logits")
    with pytest.raises(UnimpError, match="modes: generate, threshold"):
        make().choose(EXAMPLES, mode="magic")
    with pytest.raises(UnimpError, match="pass keys"):
        make().picture_codes([], 4, temperature=1.0)


@pytest.mark.parametrize("task", ["recommendation", "preference", "selection", "explanation"])
def test_a_spoilt_model_answers_nothing(task: str) -> None:
    decoder = make()
    with torch.no_grad():
        decoder.model.body.final_layer_norm.weight[0] = float("nan")
    asked = [example(1, target=2, candidates=(1, 2, 3))]
    with pytest.raises(UnimpError, match="no numbers: its weights are spoilt"):
        if task == "recommendation":
            decoder.rank(task, asked)
        elif task == "preference":
            decoder.rate(asked)
        elif task == "selection":
            decoder.choose(asked)
        else:
            decoder.explain(asked, decode)
