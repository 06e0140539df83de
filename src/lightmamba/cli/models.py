"""Sizes of what a user names, random models of shapes, float checkpoints, and prompts of ids."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.artifact import MANIFEST, MODEL
from lightmamba.model.config import PUBLISHED, ModelConfig
from lightmamba.model.qmodel import load_sizes
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.model_formats import Formats
from lightmamba.text.model import Model

if TYPE_CHECKING:
    from lightmamba.model.causal_lm import FloatModel
    from lightmamba.model.checkpoint import Checkpoint

__all__ = [
    "FORMATS",
    "is_file",
    "open_float",
    "open_or_draw",
    "open_sizes",
    "prompt_ids",
    "short_name",
]

SUFFIXES = (".safetensors", ".st")
FORMATS = {"w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}  # bits of weights and activations


def short_name(path: str) -> str:
    """Name of a model for people: of what the package ships without its folder."""
    shipped = Path(__file__).parents[1] in Path(path).parents
    return Path(path).name if shipped else path


def is_file(name: str) -> bool:
    """Whether ``name`` means a quantized file rather than a checkpoint.

    Raises
    ------
    InputError
        If it is neither a file, a folder, nor what a hub id looks like.
    """
    path = Path(name).expanduser()
    if path.is_file() or (path.suffix in SUFFIXES and not path.is_dir()):
        return True
    if not path.exists() and name.count("/") != 1:
        raise InputError(
            f"there is no file or folder {name}; give a quantized file, a checkpoint's folder, "
            f"or a hub id, for example state-spaces/mamba2-130m"
        )
    return False


def open_sizes(name: str, form: str | None) -> tuple[ModelConfig, Formats, Path | None]:
    """Sizes and arithmetic of a quantized file, or of a named shape, and the file if it is one.

    Parameters
    ----------
    name
        File or shape.
    form
        Key of :data:`FORMATS`, for shapes only; w4a4 by default.

    Raises
    ------
    InputError
        If it is neither, or the format is not right.
    """
    path = Path(name)
    if name not in PUBLISHED or path.is_file():
        if (path / MANIFEST).is_file() and (path / MODEL).is_file():
            raise InputError(
                f"{path} is a build, not a quantized file; the one that it runs is {path / MODEL}"
            )
        if path.is_dir():
            raise InputError(
                f"{path} is a folder, not a quantized file; "
                f"make one with: lightmamba quantize {path} -o m.safetensors"
            )
        if not path.exists():
            raise InputError(
                f"there is no file {path}; give a quantized file, or a shape: "
                f"{', '.join(PUBLISHED)}"
            )
        if form is not None:
            raise InputError(f"--format is for shapes, but {path} is a file")
        return *load_sizes(path), path
    if (key := form or "w4a4") not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}, not {form}")
    weights, activations = FORMATS[key]
    return PUBLISHED[name], Formats(weights, activations, head_weight_bits=weights), None


def open_or_draw(name: str, form: str | None, seed: int | None = None) -> Model:
    """A quantized file, or a random model of a named shape.

    Parameters
    ----------
    name, form
        As of :func:`open_sizes`.
    seed
        Of the random weights, for shapes only; 0 by default.

    Raises
    ------
    InputError
        As :func:`open_sizes`, or if the seed is not right.
    """
    config, formats, path = open_sizes(name, form)
    if path is not None:
        if seed is not None:
            raise InputError(f"--format and --seed are for shapes, but {path} is a file")
        return Model.read(path)
    if not 0 <= (seed or 0) < 1 << 63:
        raise InputError(f"--seed must be from 0 to 2**63 - 1, not {seed}; try 0")
    return Model(random_model(config, formats, seed or 0, lazy=True))


def open_float(
    name: str,
    revision: str | None,
    tokenizer: Path | None,
    threads: int,
    made: Model | None = None,
) -> "tuple[FloatModel, Checkpoint]":
    """Float model of a checkpoint, and the checkpoint.

    Of a checkpoint without a tokenizer, a quantized model that was ``made`` from it knows how much
    of the vocabulary is padding.
    """
    import torch

    from lightmamba.model.causal_lm import FloatModel
    from lightmamba.model.checkpoint import load_checkpoint

    torch.set_num_threads(threads)
    found = load_checkpoint(name, revision=revision, tokenizer=tokenizer)
    valid = found.valid_vocab
    if made is not None and found.tokenizer is None:
        same = made.quantized.config.vocab_size == found.config.vocab_size
        valid = made.quantized.valid_vocab if same else valid
    return FloatModel(found.model, valid), found


def prompt_ids(
    text: str | None, numbers: str | None, tokenizer: Tokenizer | None, valid_vocab: int
) -> list[int]:
    """Ids of a prompt, given as text or as numbers; without either, id 0.

    Raises
    ------
    InputError
        If both are given, text without a tokenizer, something else than numbers, or an id that the
        model does not have.
    """
    if text is not None and numbers is not None:
        raise InputError("give either --prompt or --prompt-ids, not both")
    if text is not None:
        if tokenizer is None:
            raise InputError(
                'the model has no tokenizer, so text cannot be read; try --prompt-ids "1 2 3"'
            )
        ids = [int(i) for i in tokenizer.encode(text)]
    else:
        words = "0" if numbers is None else numbers
        try:
            ids = [int(word) for word in words.split()]
        except ValueError:
            raise InputError(
                f'--prompt-ids takes numbers, such as "1 2 3", not {words!r}'
            ) from None
    if not ids:
        raise InputError("the prompt has no tokens; give at least one, such as --prompt 'The'")
    if wrong := [i for i in ids if not 0 <= i < valid_vocab]:
        raise InputError(f"token id {wrong[0]} is out of range; ids are 0 to {valid_vocab - 1}")
    return ids
