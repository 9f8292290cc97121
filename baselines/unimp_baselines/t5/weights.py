"""The T5 itself: published weights from a folder or by name, or a small one made here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimp_bench.errors import ConfigError
from unimp_bench.features.published import quiet

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def small(rows: int, width: int, layers: int, heads: int, dropout: float) -> Any:
    """A T5 that has learned nothing, with `rows` text tokens; 1.2 million weights at 2,000, 128, 2 and 4."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=rows,
        d_model=width,
        d_kv=width // heads,
        d_ff=4 * width,
        num_layers=layers,
        num_heads=heads,
        dropout_rate=dropout,
        pad_token_id=0,
        eos_token_id=1,
        feed_forward_proj="relu",
    )
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration(config)


def published(name: str) -> tuple[Any, Tokenizer]:
    """Weights and tokenizer of a folder or hub name; safetensors only, and nothing that came with them is run.

    Raises:
        ConfigError: they are not there, or are not those of a T5.
    """
    from safetensors import SafetensorError
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    where = f"weights '{name}'"
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise ConfigError(f"p5: {where}: there is no such folder; give a folder with config.json or a hub name")
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        with quiet():
            config = T5Config.from_pretrained(place)
            if config.model_type != "t5":
                raise ConfigError(f"p5: {where} are of a {config.model_type}; give those of a T5")
            t5 = T5ForConditionalGeneration.from_pretrained(place, config=config, use_safetensors=True, dtype="float32")
            tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False)
            backend: Tokenizer = tokenizer.backend_tokenizer
    except (OSError, ValueError, ImportError, AttributeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"p5: {where} cannot be read ({reason[0] if reason else type(error).__name__}); give a folder with "
            "config.json, model.safetensors and tokenizer.json"
        ) from None
    return t5, backend


def described(config: dict[str, Any], *, tied: bool) -> Any:
    """A T5 of the described sizes, for weights to be put in; untied, its output has a table of its own."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    made = T5Config(**config)
    made.scale_decoder_outputs = config["scale_decoder_outputs"]  # its constructor guesses this
    t5 = T5ForConditionalGeneration(made)
    if not tied:
        t5.lm_head.weight = torch.nn.Parameter(t5.shared.weight.detach().clone())
    return t5
