"""Published weights for encoders: a local folder, or a name on the hub that is fetched once into the hub's own cache.

Only configuration, vocabulary and safetensors are read; a model that brings code of its own is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from unimp_bench import hub
from unimp_bench.errors import ConfigError
from unimp_bench.provenance import sha256

_WEIGHTS = ("model*.safetensors",)
_READ = ("*.json", "*.txt", "*.model", "*/config.json", "*.safetensors")


def folder_of(name: str, family: str) -> Path:
    """The folder of a model in the transformers format.

    Args:
        name: a folder, or a name on the hub.
        family: of encoders, as `clip:`, for the message.

    Raises:
        ConfigError: it is neither, cannot be had, or should not be loaded.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith("."):
            raise ConfigError(f"encoder '{family}{name}': there is no such folder; name one, or a model on the hub")
        found, why = hub.from_hub(name, weights=_WEIGHTS, where=f"after {family}")
        if found is None:
            raise ConfigError(f"encoder '{family}{name}': {why}")
        folder = found
    reason = hub.unusable(folder)
    if reason is None and not any(folder.glob("*.safetensors")):
        reason = "has no *.safetensors, and weights of other formats are not read"
    if reason is not None:
        raise ConfigError(f"encoder '{family}{name}': {folder} {reason}; name another model")
    return folder


def fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the files that are read."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _READ for file in folder.glob(pattern) if file.is_file()}):
        digest.update(f"{file.relative_to(folder)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of transformers, and its report on weights that are not wanted, as of CLIP's text side."""
    logging = import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
