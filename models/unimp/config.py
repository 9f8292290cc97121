"""Everything that shapes a UniMP model, in one `PretrainedConfig`, and the four presets.

Sizes of preset `paper` are those of the released code: CLIP ViT-L/14, 64 latents, a gated cross-attention block before
every second of 32 layers of RedPajama-INCITE 3B. `mpt-1b` is the paper's UniMP-Small. `tiny` learns on two CPU cores.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, GPTNeoXConfig, PretrainedConfig
from transformers.models.clip.configuration_clip import CLIPVisionConfig

RATINGS = 5
FUSIONS = ("cross_attention", "none", "pooled", "early", "late")


class UnimpConfig(PretrainedConfig):
    """Sizes and switches of a model.

    Args:
        text: the language body's configuration (GPT-NeoX or MPT), as a config or its dictionary.
        vision: the vision tower's configuration (CLIP), likewise; None where the model is blind.
        text_ids: ids of the text tokenizer, 0 .. text_ids - 1; all other ids follow (`vocabulary.py`).
        candidates: how many choice ids `s_k` there are.
        items: how many item ids there are.
        image_codes: size of the picture codebook; 0 where no pictures are generated.
        item_levels: ids an item has; 1 for atomic ids, more for semantic ones.
        codebook: codes a level of semantic ids; unused for atomic ids.
        fusion: how pictures reach the text. `cross_attention` is UniMP; `none` is blind; `pooled` adds one visual
            vector to the `<image>` token's embedding (the paper's "w/o cross-attention"); `early` replaces the
            positions after `<image>` by projected latents; `late` adds visual vectors to the last hidden states.
        exclusive: whether an id of the history sees its own item's picture only, else all pictures so far.
        overview: whether questions and answers see all pictures of their history, else the last one alone; None where
            `exclusive` is off.
        latents: vectors a picture is resampled to.
        resampler_layers, resampler_heads: depth and heads of the Perceiver resampler.
        cross_every: a gated block stands before every n-th layer of the body.
        cross_heads, head_width: heads of gated cross-attention and of the resampler, and their width.
        feed_forward: width of feed-forward parts relative to their input.
        gate: value of both gates at the start; 0 in OpenFlamingo, whose checkpoints open them.
        train_rows: `new` trains rows of new ids only, `all` those of text as well.
        item_rows: `free` rows are the paper's; `content` adds words and pictures to them (`item_rows.py`).
        content_width: width of the words' own table there.
        scaled: first weights for a model that learns from nothing at a small width (`modeling.py`).
        vision_pool: side of the windows over which the tower's patch grid is averaged; 1 keeps every patch.
    """

    model_type = "unimp"
    sub_configs: ClassVar[dict[str, Any]] = {"text": AutoConfig, "vision": CLIPVisionConfig}

    def __init__(
        self,
        text: PretrainedConfig | dict[str, Any] | None = None,
        vision: PretrainedConfig | dict[str, Any] | None = None,
        *,
        text_ids: int = 1000,
        candidates: int = 20,
        items: int = 10,
        image_codes: int = 0,
        item_levels: int = 1,
        codebook: int = 0,
        fusion: str = "cross_attention",
        exclusive: bool = True,
        overview: bool | None = None,
        latents: int = 64,
        resampler_layers: int = 6,
        resampler_heads: int = 8,
        cross_every: int = 2,
        cross_heads: int = 8,
        head_width: int = 64,
        feed_forward: int = 4,
        gate: float = 0.1,
        train_rows: str = "new",
        vision_pool: int = 1,
        item_rows: str = "free",
        content_width: int = 64,
        scaled: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(text, dict):
            text = AutoConfig.for_model(**text)
        if isinstance(vision, dict):
            vision = CLIPVisionConfig(**vision)
        self.text = text if text is not None else GPTNeoXConfig(**NEOX_TINY)
        self.vision = vision
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is '{fusion}'; known: {', '.join(FUSIONS)}")
        if train_rows not in ("new", "all"):
            raise ValueError(f"train_rows is '{train_rows}'; known: new, all")
        self.text_ids, self.candidates, self.items = text_ids, candidates, items
        self.image_codes, self.item_levels, self.codebook = image_codes, item_levels, codebook
        self.fusion, self.exclusive = fusion, exclusive
        self.overview = not exclusive if overview is None else overview
        self.latents, self.resampler_layers, self.resampler_heads = latents, resampler_layers, resampler_heads
        self.cross_every, self.cross_heads, self.head_width = cross_every, cross_heads, head_width
        self.feed_forward, self.gate, self.train_rows = feed_forward, gate, train_rows
        self.vision_pool = vision_pool
        self.item_rows, self.content_width, self.scaled = item_rows, content_width, scaled
        if item_rows not in ("free", "content"):
            raise ValueError(f"item_rows is '{item_rows}'; known: free, content")
        # Rows are two tables of our own (`rows.py`); `generate` asks the body's configuration for their number.
        self.text.vocab_size = text_ids + 4 + RATINGS + candidates + image_codes + self.item_id_rows
        self.text.bos_token_id = self.text.eos_token_id = 0
        super().__init__(**{**kwargs, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0})

    @property
    def item_id_rows(self) -> int:
        """How many ids items are made of."""
        return self.items if self.item_levels == 1 else self.item_levels * self.codebook

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The body's configuration: what `generate` and its cache go by."""
        return self.text

    @property
    def routed(self) -> bool:
        """Whether every token sees one picture at most (`routes.py`)."""
        return self.fusion != "cross_attention" or (self.exclusive and not self.overview)

    @property
    def width(self) -> int:
        """Width of the language body."""
        return int(self.text.hidden_size)

    @property
    def vision_width(self) -> int:
        """Width of the tower's patch tokens; the body's own width where there is no tower."""
        return int(self.vision.hidden_size) if self.vision is not None else self.width


NEOX_TINY: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 384,
    "max_position_embeddings": 2048,
    "rotary_pct": 1.0,
    "use_parallel_residual": True,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
}
NEOX_SMALL: dict[str, Any] = {
    **NEOX_TINY,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
}
NEOX_PAPER: dict[str, Any] = {  # RedPajama-INCITE 3B
    "hidden_size": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 10_240,
    "max_position_embeddings": 2048,
    "rotary_pct": 1.0,
    "use_parallel_residual": False,
}
MPT_1B: dict[str, Any] = {
    "model_type": "mpt",
    "d_model": 2048,
    "n_layers": 24,
    "n_heads": 16,
    "max_seq_len": 2048,
    "attn_config": {"qk_ln": True},
}

CLIP_TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
    "projection_dim": 64,
}
CLIP_SMALL: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "image_size": 128,
    "patch_size": 16,
    "projection_dim": 128,
}
CLIP_L14: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}

_SHARED_TINY: dict[str, Any] = {
    "gate": 1.0,  # nothing is published that open gates could spoil
    "scaled": True,
    "cross_every": 1,
    "latents": 4,
    "resampler_layers": 1,
    "resampler_heads": 4,
    "cross_heads": 4,
    "head_width": 16,
    "feed_forward": 2,
}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"text": {"model_type": "gpt_neox", **NEOX_TINY}, "vision": CLIP_TINY, **_SHARED_TINY},
    "small": {
        "text": {"model_type": "gpt_neox", **NEOX_SMALL},
        "vision": CLIP_SMALL,
        "gate": 1.0,
        "scaled": True,
        "latents": 8,
        "resampler_layers": 2,
        "resampler_heads": 4,
        "cross_heads": 4,
        "head_width": 32,
        "feed_forward": 4,
    },
    "paper": {"text": {"model_type": "gpt_neox", **NEOX_PAPER}, "vision": CLIP_L14, "train_rows": "all"},
    "mpt-1b": {"text": MPT_1B, "vision": CLIP_L14, "cross_every": 1, "train_rows": "all"},
}
