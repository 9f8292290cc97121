"""Text and its ids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from unimp.errors import CheckpointError, UnimpError
from unimp.text import END, END_ID, TextEncoder, load_tokenizer, save_tokenizer, train_tokenizer

CORPUS = [
    "Low top sneaker, women's No. 5",
    "the sneaker by the shop",
    "naïve café 😀",
    "what <|endoftext|> may say",
] * 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(CORPUS, 360)


@pytest.fixture(scope="module")
def encoder(tokenizer: PreTrainedTokenizerFast) -> TextEncoder:
    return TextEncoder(tokenizer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "low top sneaker",
        "Low  top\n\tsneaker ",
        "café 😀 日本語",
        "e\u0301 is two characters",
        "\x00",
        "<|endoftext|>",
        "a<|endoftext|> b",
        "<image> item_5 rate_1",
    ],
)
def test_any_text_comes_back(encoder: TextEncoder, text: str) -> None:
    (ids,) = encoder.encode([text])
    assert ids.dtype == "int32" and ids.ndim == 1
    assert END_ID not in ids
    assert encoder.decode(ids) == text
    assert (len(ids) == 0) == (text == "")


def test_end_in_a_text_is_plain_though_the_tokenizer_itself_would_take_it(
    tokenizer: PreTrainedTokenizerFast, encoder: TextEncoder
) -> None:
    assert tokenizer(END)["input_ids"] == [END_ID]  # the trap is there
    assert END_ID not in encoder.encode([END])[0]
    assert tokenizer(END)["input_ids"] == [END_ID]  # and the caller's tokenizer is as it was


def test_half_a_surrogate_pair_is_replaced(encoder: TextEncoder) -> None:
    assert encoder.decode(encoder.encode(["a\ud800b"])[0]) == "a\ufffdb"


def test_words_are_learned_with_their_blank(encoder: TextEncoder) -> None:
    first, after = encoder.encode(["sneaker"])[0], encoder.encode([" sneaker"])[0]
    assert len(after) == 1 and len(first) > 1


def test_a_batch_is_encoded_as_each_text_alone(encoder: TextEncoder) -> None:
    texts = ["the sneaker", "", "a much longer text than the others 😀"]
    for together, text in zip(encoder.encode(texts), texts, strict=True):
        assert together.tolist() == encoder.encode([text])[0].tolist()


def test_ends_are_left_out_and_other_ids_refused(encoder: TextEncoder) -> None:
    ids = encoder.encode(["the shop"])[0].tolist()
    assert encoder.decode([END_ID, *ids, END_ID, END_ID]) == "the shop"
    for wrong in (encoder.size, -1):
        with pytest.raises(UnimpError, match=f"id {wrong} is not text"):
            encoder.decode([*ids, wrong])


def test_size_is_what_ids_stay_below(encoder: TextEncoder, tokenizer: PreTrainedTokenizerFast) -> None:
    assert encoder.size == len(tokenizer) <= 360
    assert max(max(row) for row in encoder.encode(CORPUS)) < encoder.size


def test_equal_texts_give_an_equal_tokenizer_in_another_process(tokenizer: PreTrainedTokenizerFast) -> None:
    code = f"""
from unimp.text import train_tokenizer
print(train_tokenizer(iter({CORPUS!r}), 360).backend_tokenizer.to_str(), end="")
"""
    env = {"PYTHONPATH": str(Path(sys.modules["unimp.text"].__file__ or "").parents[1]), "PYTHONHASHSEED": "7"}
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
    assert said.stdout.decode() == tokenizer.backend_tokenizer.to_str()


def test_no_room_for_the_bytes() -> None:
    with pytest.raises(UnimpError, match="no room for the 256 bytes"):
        train_tokenizer(["a"], 256)


@pytest.mark.parametrize("whole", [True, False])
def test_saved_and_loaded(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, whole: bool) -> None:
    save_tokenizer(tokenizer, tmp_path)
    if not whole:
        (tmp_path / "tokenizer_config.json").unlink()  # as some publish it
    again = load_tokenizer(tmp_path)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert again.eos_token_id == again.bos_token_id == END_ID


def test_code_of_a_published_tokenizer_is_not_run(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    save_tokenizer(tokenizer, tmp_path)
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", '{"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},', 1))
    assert load_tokenizer(tmp_path).eos_token_id == END_ID
    assert not mark.exists()


def test_damaged_and_foreign_tokenizers_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path / "empty")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/tokenizer.json").write_text('{"version": "1.0", "mod')
    with pytest.raises(CheckpointError, match="no tokenizer can be read from") as found:
        load_tokenizer(tmp_path / "cut")
    assert "\n" not in str(found.value)
    (tmp_path / "other").mkdir()
    Tokenizer(models.WordLevel({"[UNK]": 0, END: 1}, unk_token="[UNK]")).save(str(tmp_path / "other/tokenizer.json"))
    with pytest.raises(CheckpointError, match="id 0 of the tokenizer"):
        load_tokenizer(tmp_path / "other")
