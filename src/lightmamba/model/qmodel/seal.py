"""The hash that a model file carries in its own metadata."""

import hashlib
from pathlib import Path
from typing import IO, Any

from lightmamba.common.errors import InputError, shown
from lightmamba.common.files import SHA256, intact
from lightmamba.common.plain import take

__all__ = ["BLANK", "check_seal", "digest", "seal"]

HOW = "make it again with: lightmamba quantize CKPT -o FILE"
BLANK = "0" * 64  # in the place of the hash while it is computed
CHUNK = 1 << 22  # bytes that are hashed at once


def digest(file: IO[bytes], own: str) -> str:
    """SHA-256 of a whole file, its own hash in the header replaced by :data:`BLANK`."""
    file.seek(0)
    size = file.read(8)
    head = file.read(int.from_bytes(size, "little"))
    found = hashlib.sha256(size + head.replace(own.encode(), BLANK.encode()))
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def seal(file: IO[bytes], place: int) -> None:
    """Compute the hash of a file that has :data:`BLANK` at ``place``, and write it there."""
    found = digest(file, BLANK)
    file.seek(place)
    file.write(found.encode())


def check_seal(path: Path, header: dict[str, Any], *, again: bool = False) -> None:
    """Compare the hash in the metadata of a file with that of its bytes.

    Parameters
    ----------
    path
        The file.
    header
        Its metadata.
    again
        Read it whole, even if it was found right before and has not changed since.

    Raises
    ------
    InputError
        If the file carries no hash, or has another one.
    """
    if "sha256" not in header:
        raise InputError(f"has no hash of its contents; {HOW}")
    sha256 = take(header, "sha256", str)
    if not SHA256.fullmatch(sha256):
        raise InputError(f"sha256 must be 64 hexadecimal digits, not {shown(sha256)}; {HOW}")

    def found(path: Path) -> str:
        with path.open("rb") as file:
            return digest(file, sha256)

    if not intact(path, sha256, found, again=again):
        raise InputError(f"has changed since it was written; copy it again, or {HOW}")
