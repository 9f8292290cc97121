"""Pictures by the vision part of a CLIP model (Radford et al. 2021) in the transformers format.

An item is its picture's pooled vector, the first token's state after the final norm and before the projection, brought
to length 1; pictures are prepared by the model's own processor.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import published
from unimp_bench.features.content import by_item, each, picture_ids
from unimp_bench.features.projection import unit
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.runners.protocol import Context

_KINDS = ("clip", "clip_vision_model")


class Clip:
    """Picture vectors of a local or published CLIP; wants a folder or a hub name."""

    modality: ClassVar[Modality] = "image"

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _folder(self) -> Path:
        return published.folder_of(self.name, "clip:")

    def identity(self) -> str:
        """Version and hash of the model's files."""
        return f"clip 1 {published.fingerprint(self._folder)}"

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Features `(items, width)` and which items have one."""
        torch = import_module("torch")
        model, processor = self._loaded()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model.to(device)

        def look(pictures: list[Image.Image]) -> Values:
            ready = processor(images=pictures, return_tensors="pt").to(device)
            with torch.inference_mode():
                return unit(model(**ready).pooler_output.float().cpu().numpy())[0]

        ids = picture_ids(view.items)
        rows = np.zeros((len(ids), model.config.hidden_size), dtype=np.float32)
        each(view, ids, look, rows, context.progress)
        return by_item(view, ids, rows)

    def _loaded(self) -> tuple[Any, Any]:
        transformers = import_module("transformers")
        where = str(self._folder)
        try:
            config = transformers.AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
            if config.model_type not in _KINDS:
                raise ValueError(f"it holds a model of type {config.model_type}; wanted a CLIP")
            processor = transformers.CLIPImageProcessor.from_pretrained(where, local_files_only=True)
            with published.quiet():
                model, found = transformers.CLIPVisionModel.from_pretrained(
                    where, local_files_only=True, use_safetensors=True, output_loading_info=True
                )
            if missing := sorted(found["missing_keys"]):
                raise ValueError(f"it lacks {len(missing)} weights, {missing[0]} first")
        except Exception as error:  # JSON, safetensors and processor readers share no class of their own
            said = str(error).strip().split("\n")[0]
            raise ConfigError(f"encoder 'clip:{self.name}': {where} cannot be loaded ({said})") from error
        return model.eval(), processor
