"""Open what a user names: a quantized file, a checkpoint folder, a hub id."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightmamba.errors import InputError

if TYPE_CHECKING:
    from lightmamba.engine import Engine
    from lightmamba.reference import FloatModel
    from lightmamba.tokenizer import Tokenizer

__all__ = ["is_file", "open_engine", "open_float", "tokenizer_of"]


def is_file(name: str) -> bool:
    """Whether ``name`` is meant as a quantized file rather than a checkpoint."""
    return Path(name).is_file() or name.endswith(".safetensors")


def open_engine(name: str, threads: int) -> "Engine":
    """Integer engine of a quantized file."""
    from lightmamba.engine import Engine
    from lightmamba.qmodel import load

    return Engine(load(Path(name)), threads=threads)


def open_float(
    name: str, revision: str | None, tokenizer: Path | None
) -> tuple["FloatModel", bytes | None]:
    """Float model of a checkpoint, and its tokenizer."""
    from lightmamba.checkpoint import load_checkpoint
    from lightmamba.reference import FloatModel

    checkpoint = load_checkpoint(name, revision=revision, tokenizer=tokenizer)
    return FloatModel(checkpoint.model, checkpoint.valid_vocab), checkpoint.tokenizer


def tokenizer_of(data: bytes | None, valid_vocab: int, name: str) -> "Tokenizer":
    """The tokenizer that came with a model.

    Raises
    ------
    InputError
        If there is none, or it is of another vocabulary.
    """
    from lightmamba.tokenizer import Tokenizer, check_vocab

    if data is None:
        raise InputError(
            f"{name} has no tokenizer, so text cannot be read; use ids (--ids FILE), or give "
            f"--tokenizer FILE when quantizing"
        )
    tokenizer = Tokenizer.from_bytes(data)
    check_vocab(tokenizer, valid_vocab)
    return tokenizer
