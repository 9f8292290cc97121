"""Text by a sentence encoder in the transformers format, after Sentence-BERT (Reimers & Gurevych, EMNLP 2019).

    n different texts, t tokens, width of the model

An item is the mean of its last states over its tokens, or the first state where the folder's `1_Pooling/config.json`
says so, brought to length 1.
"""

from __future__ import annotations

import json
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import published
from unimp_bench.features.content import texts
from unimp_bench.features.projection import unit
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.progress import Progress
from unimp_bench.runners.protocol import Context

_BATCH = 64  # texts
_TOKENS = 128  # of a text that are read


class Sentence:
    """States of a local or published language model; wants a folder or a hub name."""

    modality: ClassVar[Modality] = "text"

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _folder(self) -> Path:
        return published.folder_of(self.name, "sentence:")

    def identity(self) -> str:
        """Version, settings and hash of the model's files."""
        return f"sentence 1 tokens={_TOKENS} {published.fingerprint(self._folder)}"

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Features `(items, width)` and which items have one."""
        found = texts(view.items)
        # Short ones first: little padding. An order of their own, so that neighbours do not hang on the catalogue's.
        distinct = sorted(set(found) - {""}, key=lambda text: (len(text), text))
        rows = self._encoded(distinct, context.progress)
        place = {text: row for row, text in enumerate(distinct)}
        at = np.array([place.get(text, -1) for text in found], dtype=np.intp)
        values = np.zeros((len(at), rows.shape[1]), dtype=np.float32)
        values[at >= 0] = rows[at[at >= 0]]
        return values, at >= 0

    def _encoded(self, distinct: list[str], progress: Progress) -> Values:
        """Rows of length 1 `(n, width)`."""
        torch = import_module("torch")
        model, tokenizer = self._loaded()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model.to(device)
        first = _takes_first(self._folder)
        rows = np.zeros((len(distinct), model.config.hidden_size), dtype=np.float32)
        progress.start("texts", len(distinct), "texts")
        for start in range(0, len(distinct), _BATCH):
            some = distinct[start : start + _BATCH]
            ready = tokenizer(some, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt").to(device)
            with torch.inference_mode():
                states = model(**ready).last_hidden_state  # (n, t, width)
                shown = ready["attention_mask"][..., None]
                pooled = states[:, 0] if first else (states * shown).sum(1) / shown.sum(1).clamp(min=1)
            rows[start : start + _BATCH] = pooled.float().cpu().numpy()
            progress.advance(len(some))
        progress.finish()
        return unit(rows)[0]

    def _loaded(self) -> tuple[Any, Any]:
        transformers = import_module("transformers")
        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(self._folder), **safe)
            with published.quiet():
                model = transformers.AutoModel.from_pretrained(str(self._folder), use_safetensors=True, **safe)
        except Exception as error:  # JSON, safetensors and tokenizer readers share no class of their own
            said = str(error).strip().split("\n")[0]
            raise ConfigError(f"encoder 'sentence:{self.name}': {self._folder} cannot be loaded ({said})") from error
        return model.eval(), tokenizer


def _takes_first(folder: Path) -> bool:
    """Whether a sentence encoder was trained with the state of its first token instead of the mean."""
    file = folder / "1_Pooling" / "config.json"
    try:
        return file.is_file() and bool(json.loads(file.read_text("utf-8")).get("pooling_mode_cls_token"))
    except (ValueError, AttributeError):
        raise ConfigError(f"{file} is no JSON object; fetch the model again") from None
