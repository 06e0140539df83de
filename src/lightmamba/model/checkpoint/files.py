"""Files of a checkpoint folder but for its weights; a broken one is named in one sentence.

The tokenizer, chat template, generation config, ids and licence lie next to the weights.
"""

import json
import re
from pathlib import Path
from typing import Any, TypeGuard

from tokenizers import Tokenizer

from lightmamba.common.errors import InputError
from lightmamba.common.files import sha256_of

__all__ = ["parse_tokenizer", "read_bytes", "read_chat_template", "read_json", "read_licence"]
__all__ += ["read_optional_json", "resolve_special_ids", "sha256", "tokenizer_size"]

FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
LICENCE = re.compile(r"^licen[sc]e:[ \t]*['\"]?([^'\"\s#][^'\"\n#]*)", re.MULTILINE)


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ``{"__float__": "Infinity"}`` and a bare ``Infinity`` are floats.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or holds something else than an object.
    """
    try:
        value = json.loads(read_bytes(path), object_hook=_tagged_float)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f'{path} must hold a JSON object, like {{"model_type": "mamba2"}}')
    return value


def _tagged_float(value: dict[str, Any]) -> Any:
    """Decode transformers' way of writing floats that JSON has no word for."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def sha256(path: Path) -> str:
    """Hash a file's bytes, as 64 hexadecimal digits.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_optional_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, empty if there is no such file; a broken file is refused."""
    return read_json(path) if path.is_file() else {}


def parse_tokenizer(path: Path, vocab_size: int) -> tuple[bytes, Tokenizer]:
    """Read a tokenizer.json that fits a model.

    Parameters
    ----------
    path
        The file.
    vocab_size
        Rows of the embedding.

    Returns
    -------
    data, tokenizer
        The file's bytes and what they mean.

    Raises
    ------
    InputError
        If the file is missing or no tokenizer, or has ids that the model does not know.
    """
    data = read_bytes(path)
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # tokenizers raises no narrower class
        raise InputError(
            f"{path} is not a tokenizer.json of the tokenizers library ({error}); "
            "give the one that the model was trained with"
        ) from error
    size = tokenizer_size(tokenizer)
    if not 0 < size <= vocab_size:
        raise InputError(
            f"{path} has {size} ids but the model has {vocab_size}: it belongs to another "
            "model; give the one that this model was trained with"
        )
    return data, tokenizer


def tokenizer_size(tokenizer: Tokenizer) -> int:
    """One more than the largest id, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def read_chat_template(folder: Path, tokenizer_config: dict[str, Any]) -> str | None:
    """Return chat_template.jinja, else the (default) template of tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_bytes(path).decode("utf-8", "replace")
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def read_licence(folder: Path) -> str | None:
    """Return the ``license:`` of README.md's front matter, as model cards on the hub have it."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    front = FRONT_MATTER.match(read_bytes(path).decode("utf-8", "replace").replace("\r\n", "\n"))
    found = LICENCE.search(front[1]) if front else None
    return found[1].strip() if found else None


def resolve_special_ids(
    config_ids: dict[str, Any],
    generation_config: dict[str, Any],
    tokenizer_config: dict[str, Any],
    tokenizer: Tokenizer | None,
    vocab_size: int,
) -> dict[str, int | list[int]]:
    """Ids of the beginning, end and padding tokens, where known.

    The generation config outweighs the config, which outweighs the tokenizer's words. Several end
    tokens are a list, in their order: a text ends at any of them. Ids outside the vocabulary, which
    occur for "none", are left out.
    """
    ids: dict[str, int | list[int]] = {}
    for key in ("bos", "eos", "pad"):
        word = tokenizer_config.get(f"{key}_token")
        word = word.get("content") if isinstance(word, dict) else word
        spoken = tokenizer.token_to_id(word) if tokenizer and isinstance(word, str) else None
        for value in (generation_config.get(f"{key}_token_id"), config_ids.get(key), spoken):
            given = value if isinstance(value, list) else [value]
            known: list[int] = list(dict.fromkeys(i for i in given if _is_id(i, vocab_size)))
            if known:
                ids[key] = known if key == "eos" and len(known) > 1 else known[0]
                break
    return ids


def _is_id(value: Any, vocab_size: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size
