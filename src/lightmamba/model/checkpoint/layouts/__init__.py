"""The config.json of each family of models, as it occurs; the rest is refused by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.files import read_json
from lightmamba.model.checkpoint.layouts import granite, mamba2, nemotron
from lightmamba.model.checkpoint.published import Fields, Published

__all__ = ["ConfigFile", "published_as", "read_config"]

EXAMPLE = "a Mamba2 checkpoint such as state-spaces/mamba2-130m"
READERS = {
    "mamba2": mamba2.read, "granitemoehybrid": granite.read, "nemotron_h": nemotron.read,
}  # fmt: skip
REFUSED = {  # model_type, and why
    "mamba": "is Mamba-1",
    "falcon_mamba": "is Mamba-1",
    "falcon_h1": "has attention with rotary positions in every layer",
    "zamba2": "shares attention layers among its blocks, with rotary positions",
    "zamba": "has Mamba-1 layers and shares attention layers among its blocks",
    "bamba": "has attention with partial rotary positions",
    "jamba": "has Mamba-1 layers and experts",
    "mamba3": "is Mamba-3",
}


@dataclass(frozen=True)
class ConfigFile:
    """Contents of a config.json."""

    published: Published
    special_ids: dict[str, Any]  # bos, eos, pad, as written; nothing by default
    licence: str | None


def read_config(path: Path) -> ConfigFile:
    """Read a config.json of a Mamba2 model, a Granite-4.0-H or a Nemotron-H.

    Parameters
    ----------
    path
        The file; its folder need not hold anything else.

    Raises
    ------
    InputError
        If it is missing or broken, is of another model, names something that this project does not
        run, or its sizes contradict each other.
    """
    raw = read_json(path)
    fields = Fields(path, raw)
    kind = raw.get("model_type")
    if isinstance(kind, str) and kind in REFUSED:
        raise InputError(f'{path}: model_type "{kind}" {REFUSED[kind]}; give {EXAMPLE}')
    if kind is None and mamba2.names_mamba2(raw):
        kind = "mamba2"
    if not isinstance(kind, str) or kind not in READERS:
        found = f"model_type {kind!r}" if kind else "no model_type and no d_model"
        raise InputError(
            f"{path}: {found} is not a Mamba2 model, nor of {' or '.join(list(READERS)[1:])}; "
            f"give {EXAMPLE}"
        )
    licence = raw.get("license")
    published = _published(fields, READERS[kind])
    ids = {key: raw.get(f"{key}_token_id") for key in ("bos", "eos", "pad")}
    return ConfigFile(published, ids, licence if isinstance(licence, str) else None)


def published_as(raw: dict[str, Any]) -> Published:
    """Contents of a config.json that this project wrote."""
    return _published(Fields(Path("config.json"), raw), READERS[raw["model_type"]])


def _published(fields: Fields, read: Callable[[Fields], Published]) -> Published:
    try:
        return read(fields)
    except InputError:
        raise
    except ValueError as error:  # from the sizes, which do not know the file
        raise InputError(f"{fields.path}: {error}") from error
