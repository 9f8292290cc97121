"""Answers of a trained model: rankings, ratings, chosen candidates, explanations and picture codes.

    n: examples;   items: the catalogue

What an answer may hold is decided by which rows of the head are read, so an id of another kind cannot be written.
Examples are read in batches of like length (`reader.py`) and answered in the order given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.beams import text_beams
from unimp.decisions import taken
from unimp.errors import UnimpError
from unimp.modeling import Unimp
from unimp.ranking import Floats, Ranker
from unimp.reader import Reader
from unimp.selecting import write_labels
from unimp.sequence import Row, Writer
from unimp.shop import Example, Ints
from unimp.streams import Patches


class Decoder:
    """Answers examples.

    Args:
        model: trained; it is in evaluation mode while it answers.
        writer: writes the prompts, in the style that the model was trained in.
        patches: patch tokens of item indices `(pictures,)`, None for a model without a tower.
        has_picture: `(items,)`.
        tokens: ids of a batch, padding and beams counted.
        searched: items `(items,)` whose names a search may find; all by default.

    Histories that find no place in `writer.style.longest` ids lose their oldest items; `dropped` counts these.
    """

    def __init__(
        self,
        model: Unimp,
        writer: Writer,
        patches: Patches,
        has_picture: NDArray[np.bool_],
        *,
        tokens: int = 16_384,
        searched: NDArray[np.bool_] | None = None,
    ) -> None:
        self.reader = Reader(model, writer, patches, has_picture, tokens)
        self.ranker = Ranker(self.reader, searched)
        self.model, self.writer, self.vocabulary = model, writer, writer.vocabulary

    @property
    def dropped(self) -> int:
        """History items that found no place, over all answers so far."""
        return self.reader.dropped

    def prompt(self, task: str, example: Example, answer: int = 0) -> Row:
        """The row of one question, see `Reader.prompt`."""
        return self.reader.prompt(task, example, answer)

    # Ranking

    def rank(
        self,
        task: str,
        examples: Sequence[Example],
        *,
        method: str | None = None,
        k: int = 10,
        beams: int | None = None,
        log: bool = False,
    ) -> Floats:
        """Scores `(n, items)` for recommendation or search, see `Ranker.rank`."""
        return self.ranker.rank(task, examples, method=method, k=k, beams=beams, log=log)

    def rank_top(
        self,
        task: str,
        examples: Sequence[Example],
        k: int,
        *,
        method: str | None = None,
        beams: int | None = None,
        log: bool = False,
    ) -> tuple[Ints, Floats]:
        """The first k items of each list `(n, k)` and their scores, see `Ranker.rank_top`."""
        return self.ranker.rank_top(task, examples, k, method=method, beams=beams, log=log)

    # Ratings

    def rate(self, examples: Sequence[Example]) -> tuple[Floats, Ints]:
        """Expected rating `(n,)`, 1 to 5, and the likeliest one `(n,)`, of examples of the task `preference`."""
        expected, likeliest = np.zeros(len(examples), dtype=np.float32), np.zeros(len(examples), dtype=np.int64)
        with self.reader.answering():
            for numbers, stream in self.reader.streams("preference", examples, going_on=False):
                chance = self.model.head.some(stream.last, self.vocabulary.rates).float().softmax(-1)
                stars = torch.arange(1, 6, device=chance.device)
                expected[numbers] = (chance * stars).sum(-1).cpu().numpy()
                likeliest[numbers] = (chance.argmax(-1) + 1).cpu().numpy()
        return expected, likeliest

    # Selection

    def choose(
        self, examples: Sequence[Example], *, mode: str = "generate", threshold: float = 0.5, score: str = "path"
    ) -> tuple[list[list[int]], list[Floats]]:
        """Chosen places among each example's candidates, at least one, and a score in [0, 1] for each candidate.

        Greedy generation writes labels of the example's candidates, each at most once, until it writes the end. Score
        `first` is a label's probability at the answer's first place; `path` is that it is written at one of the places
        up to the end, 1 - prod(1 - p), along what was written greedily. A candidate without a label of its own, beyond
        `config.candidates`, scores 0.

        Args:
            examples: of the task `selection`.
            mode: `generate` takes what was written, ascending; `threshold` all candidates whose score reaches it.
            threshold: to be tuned on validation.
            score: `first` or `path`.

        Raises:
            UnimpError: an unknown mode or score.
        """
        if mode not in ("generate", "threshold") or score not in ("first", "path"):
            raise UnimpError(
                f"no selection by '{mode}' with score '{score}'; modes: generate, threshold; scores: first, path"
            )
        chosen: list[list[int]] = [[] for _ in examples]
        scores: list[Floats] = [np.zeros(len(e.candidates), dtype=np.float32) for e in examples]
        short = mode == "threshold" and score == "first"  # one forward pass is all that this needs
        with self.reader.answering():
            for numbers, stream in self.reader.streams(
                "selection", examples, going_on=not short, copies=1 if short else 2
            ):
                counts = torch.tensor([len(examples[n].candidates) for n in numbers], device=stream.last.device)
                written, first, path = write_labels(stream, self.vocabulary, counts, once=short)
                kept = (first if score == "first" else path).cpu().numpy()
                for place, number in enumerate(numbers):
                    wide = min(len(scores[number]), kept.shape[1])
                    scores[number][:wide] = kept[place, :wide]
                    chosen[number] = np.flatnonzero(written[place]).tolist()
        if mode == "threshold":
            chosen = [taken(own, threshold) for own in scores]
        return chosen, scores

    # Explanation

    def explain(
        self,
        examples: Sequence[Example],
        decode: Callable[[Sequence[int]], str],
        *,
        beams: int = 1,
        most_words: int | None = None,
        length_penalty: float = 1.0,
    ) -> list[str]:
        """What the model says to each example of the task `explanation`, at least one id of text.

        In the joint style the likeliest rating is written first and left out of the text.

        Args:
            examples: what is asked.
            decode: ids to text, `TextEncoder.decode`.
            beams: continuations kept; 1 is greedy.
            most_words: most ids of text; by default as many as were learned.
            length_penalty: see `text_beams`.
        """
        longest = most_words or self.writer.style.most_words
        answers = [""] * len(examples)
        end, head = self.vocabulary.end, self.model.head

        def next_id(hidden: Tensor, length: int) -> Tensor:
            logits = head.text(hidden).float()
            if not length:
                logits[:, end] = -torch.inf
            told: Tensor = logits.log_softmax(-1)
            return told

        with self.reader.answering():
            for numbers, stream in self.reader.streams("explanation", examples, copies=beams, answer=longest + 1):
                if self.writer.style.joint:
                    stream.step(head.some(stream.last, self.vocabulary.rates).argmax(-1) + self.vocabulary.rates.start)
                written, _ = text_beams(
                    stream, next_id, beams=beams, longest=longest, end=end, length_penalty=length_penalty
                )
                for number, ids in zip(numbers, written[:, 0].tolist(), strict=True):
                    answers[number] = decode(ids[: ids.index(end)] if end in ids else ids).strip()
        return answers

    # Pictures

    def picture_codes(
        self,
        rows: Sequence[Row],
        places: int,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
        keys: Sequence[str] | None = None,
    ) -> Ints:
        """Codes `(n, places)` of the pictures that prompts ask for, each from 0 to `config.image_codes` - 1.

        Args:
            rows: prompts that end at `<answer>`: `Writer.retrieved` or `Writer.trunk`, then one branch, not learned.
            places: codes of a picture.
            temperature: 0 takes the likeliest code each time; else codes are drawn from softmax(logits / temperature).
            top_k: draws from so many likeliest codes only; 0 from all.
            seed: of the draws.
            keys: a name for each row. Draws depend on seed, name and place alone, so a row's picture is the same in
                any batch.

        Raises:
            UnimpError: draws without keys.
        """
        if temperature > 0 and keys is None:
            raise UnimpError("pictures are drawn by the example's key, none is given; pass keys or temperature 0")
        codes = np.zeros((len(rows), places), dtype=np.int64)
        pictures = self.vocabulary.pictures
        with self.reader.answering():
            for numbers, stream in self.reader.read(rows, np.arange(len(rows)), copies=2):
                draws = [_generator(seed, keys[n]) for n in numbers] if keys is not None and temperature > 0 else []
                for place in range(places):
                    logits = self.model.head.some(stream.last, pictures).float()
                    if draws:
                        logits = _perturbed(logits, draws, temperature, top_k)
                    code = logits.argmax(-1)
                    codes[numbers, place] = code.cpu().numpy()
                    if place + 1 < places:
                        stream.step(code + pictures.start)
        return codes


def _generator(seed: int, key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(sha256(f"{seed}:{key}".encode()).digest()[:16], "big"))


def _perturbed(logits: Tensor, draws: Sequence[np.random.Generator], temperature: float, top_k: int) -> Tensor:
    """Logits `(rows, ids)` whose largest is a draw from their softmax: the Gumbel-max trick, one generator a row."""
    noise = np.stack([draw.gumbel(size=logits.shape[1]) for draw in draws]).astype(np.float32)
    if 0 < top_k < logits.shape[1]:
        logits = logits.masked_fill(logits < logits.topk(top_k, dim=1).values[:, -1:], -torch.inf)
    return logits / temperature + torch.as_tensor(noise, device=logits.device)
