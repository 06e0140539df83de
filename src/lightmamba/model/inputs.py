"""Texts and token ids from the files that a user names, and how a model of the hub is named."""

import re
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError

__all__ = ["HUB_ID", "read_ids", "read_stdin", "read_text"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # of a model, owner/model

LONGEST = 18  # digits of an id: all of them fit an int64


def read_text(path: Path, most: int = -1) -> str:
    """Read UTF-8 text, with or without a byte order mark; line breaks become ``\\n``.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, is something else, or has more than ``most``
        characters, where that is given.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _limited(file, most, str(path))
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; give a file of UTF-8 text"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; "
            f"convert it, or give another file"
        ) from error


def _limited(file: TextIO, most: int, name: str) -> str:
    text = file.read(most + 1 if most >= 0 else most)
    if 0 <= most < len(text):
        raise InputError(f"{name} has more than {most:,} characters; give a shorter text")
    return text


def read_stdin(most: int = -1) -> str:
    """Read UTF-8 text from standard input, as :func:`read_text` reads it.

    Raises
    ------
    InputError
        If it is something else, or longer.
    """
    try:
        text = _limited(sys.stdin, most, "standard input")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text: {error.reason}") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def read_ids(path: Path, valid_vocab: int) -> NDArray[np.int64]:
    """Read whitespace-separated token ids, shape (seqlen,).

    Raises
    ------
    InputError
        If the file cannot be read, holds no id, or something that is none of the model's.
    """
    words = read_text(path).split()
    if not words:
        raise InputError(f"{path} holds no token ids; write them like '1 2 3'")
    bad = next((i for i, word in enumerate(words) if not _is_id(word, valid_vocab)), None)
    if bad is not None:
        raise InputError(
            f"{path} must hold token ids from 0 to {valid_vocab - 1} like '1 2 3', "
            f"but word {bad + 1} is {words[bad][:40]!r}"
        )
    return np.array(words, dtype=np.int64)


def _is_id(word: str, valid_vocab: int) -> bool:
    digits = word.isascii() and word.isdigit() and len(word) <= LONGEST
    return digits and int(word) < valid_vocab
