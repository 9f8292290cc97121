"""Text and its ids: a byte-level BPE tokenizer made on the shop's own words, or a published one.

What a user wrote is plain characters, whatever it says: `<|endoftext|>` or `item_5` inside a review must never become
the id that ends a sequence or names an item. `TextEncoder` is therefore the only way from text to ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from unimp.errors import CheckpointError, UnimpError

END = "<|endoftext|>"  # opens and closes every sequence, as in GPT-NeoX
END_ID = 0  # `Vocabulary.end` counts on it
TOKENIZER_FILE = "tokenizer.json"
_BYTES = 256

Ids = NDArray[np.int32]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): equal texts in equal order give equal merges.

    A word is learned together with the blank before it. Any text can be encoded, since all 256 bytes have an id. A
    small corpus gives fewer than `vocab_size` ids: only pairs seen at least twice are merged.

    Args:
        texts: what to learn from; an iterator is read once.
        vocab_size: most ids, `<|endoftext|>` (id 0) and the 256 bytes included.

    Raises:
        UnimpError: fewer ids wanted than there are bytes.
    """
    if vocab_size <= _BYTES:
        raise UnimpError(f"a tokenizer of {vocab_size} ids has no room for the 256 bytes; take 257 or more")
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bare.train_from_iterator((_encodable(text) for text in texts), trainer)
    return _wrapped(tokenizer_object=bare)


def _wrapped(**source: Any) -> PreTrainedTokenizerFast:
    """A bare tokenizer in the form that the rest of transformers takes."""
    made: Any = PreTrainedTokenizerFast  # its constructor has no types
    tokenizer: PreTrainedTokenizerFast = made(**source, bos_token=END, eos_token=END, unk_token=END)
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write `tokenizer.json` and its settings into `folder`, which `load_tokenizer` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerFast:
    """A tokenizer from a local folder, or by name from the hub where `name` is no folder.

    Code that comes with a tokenizer is never run. A folder may hold nothing but `tokenizer.json`.

    Raises:
        CheckpointError: no readable fast tokenizer there, or one whose id 0 does not end a text.
    """
    folder = Path(name)
    try:
        if not folder.is_dir():
            tokenizer = AutoTokenizer.from_pretrained(str(name), trust_remote_code=False)
        elif (folder / "tokenizer_config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        elif (file := folder / TOKENIZER_FILE).is_file():
            tokenizer = _wrapped(tokenizer_file=str(file))
        else:
            raise CheckpointError(f"'{name}' has no {TOKENIZER_FILE}; is it the folder of a tokenizer?")
    except CheckpointError:
        raise
    except Exception as problem:  # the tokenizer's own parser raises bare Exception on a damaged file
        said = str(problem).strip().split("\n")[0]
        raise CheckpointError(f"no tokenizer can be read from '{name}': {said}") from problem
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"the tokenizer of '{name}' has no tokenizer.json; take a fast one")
    if tokenizer.convert_tokens_to_ids(END) != END_ID:
        raise CheckpointError(f"id 0 of the tokenizer of '{name}' is not {END}; take one of the GPT-NeoX family")
    return tokenizer


class TextEncoder:
    """Text to ids and back; knows no special id but the end, which it never writes.

    Args:
        tokenizer: trained here or published; it is copied, not changed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        bare = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        bare.encode_special_tokens = True  # the name is the library's: special tokens in a text are split like words
        bare.no_padding()
        bare.no_truncation()
        self._bare = bare
        self._special = frozenset(number for number, token in bare.get_added_tokens_decoder().items() if token.special)
        self.size: int = max(bare.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, `(ids,)` each, nothing added; an empty text has none."""
        found = self._bare.encode_batch([_encodable(text) for text in texts], add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int32) for one in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; ends are left out, a character cut apart reads as U+FFFD.

        Raises:
            UnimpError: an id that is not text, such as an item's.
        """
        wanted = [int(one) for one in ids]
        for one in wanted:
            if not 0 <= one < self.size:
                raise UnimpError(f"id {one} is not text (0 to {self.size - 1}); cut the answer before it is decoded")
        text: str = self._bare.decode([one for one in wanted if one not in self._special], skip_special_tokens=False)
        return text


def _encodable(text: str) -> str:
    """The text with each half of a broken surrogate pair, which no UTF-8 holds, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
