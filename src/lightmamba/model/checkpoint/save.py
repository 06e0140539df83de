"""Save a float model as a checkpoint that transformers loads."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lightmamba.common.errors import InputError
from lightmamba.common.files import replace_file
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint.files import parse_tokenizer
from lightmamba.model.checkpoint.layouts import granite, mamba2, published_as
from lightmamba.model.checkpoint.published import Published
from lightmamba.model.config import ModelConfig

__all__ = ["config_json", "published_parts", "save_checkpoint"]

IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def save_checkpoint(model: CausalLM, folder: Path, *, tokenizer: Path | None = None) -> None:
    """Write bf16 ``model.safetensors``, ``config.json``, ``generation_config.json``, tokenizer.

    Every file is first written aside and all are then renamed, so that a full disk leaves the
    files of an earlier checkpoint as they were. Id 0 is begin, end and padding.

    Parameters
    ----------
    model
        Of any floating-point type.
    folder
        Made if it is not there.
    tokenizer
        The tokenizer.json of this model.

    Raises
    ------
    InputError
        If the folder cannot be written, or the tokenizer does not fit the model.
    """
    config = model.config
    texts = {"config.json": config_json(config), "generation_config.json": IDS}
    data = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in texts.items()}
    if tokenizer is not None:
        data["tokenizer.json"], _ = parse_tokenizer(tokenizer, config.vocab_size)
    published = published_as(texts["config.json"])
    weights = {
        name: value
        for own, parameter in model.named_parameters()  # a tied head is not listed
        for name, value in published_parts(published, own, parameter)
    }
    parts = {name: folder / f".{name}.part" for name in ("model.safetensors", *data)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, parts["model.safetensors"], metadata={"format": "pt"})
        for name, content in data.items():
            parts[name].write_bytes(content)
        shutil.copymode(parts["config.json"], parts["model.safetensors"])  # save_file says 0600
        for name, part in parts.items():
            replace_file(part, folder / name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write a checkpoint to {folder}: {reason}") from error
    finally:
        _remove(parts)


def _remove(parts: dict[str, Path]) -> None:
    for part in parts.values():
        if part.is_file():
            part.unlink()


def config_json(config: ModelConfig) -> dict[str, Any]:
    """Sizes of a model as transformers writes them.

    Raises
    ------
    InputError
        If transformers has no family for this sequence of layers.
    """
    family = mamba2 if config.kinds == ("mamba2",) else granite
    return {"dtype": "bfloat16", **family.config_json(config), **IDS}


def published_parts(
    published: Published, own: str, parameter: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Tensor of a parameter as the files hold it, in bf16: the inverse of reading it."""
    at = 0
    for part in published.origin(own).parts:
        shape, places = part.shape or (), None  # in the stored tensor, of each value
        if shape:
            places = torch.arange(math.prod(shape)).view(shape)
            places = part.view(places) if part.view else places
        rows = part.rows or (len(parameter) if places is None else len(places))
        value = parameter.detach()[at : at + rows].float() / part.factor
        if places is not None:
            stored = torch.empty(shape)
            stored.view(-1)[places.flatten()] = value.flatten()
            value = stored
        yield part.names[0], value.to(torch.bfloat16).contiguous()
        at += rows
