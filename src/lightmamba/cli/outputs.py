"""Files that a verb will write: refused before the work, not after it."""

import os
from pathlib import Path

from lightmamba.common.errors import InputError

__all__ = ["check_output"]


def check_output(path: Path, *, force: bool) -> None:
    """Make sure that a file can be written at ``path``, and that nothing is lost by it.

    Raises
    ------
    InputError
        If it exists and ``force`` is not given, is a folder, or its folder is missing or closed.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path.name}; make it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file, such as {path / 'out'}")
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another name, or --force to replace it")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path} cannot be written; give another place")
