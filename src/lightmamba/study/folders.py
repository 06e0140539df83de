"""Folders of results: refused where they hold something else, or cannot be made."""

from collections.abc import Collection
from pathlib import Path

from lightmamba.common.errors import InputError

__all__ = ["check_folder"]


def check_folder(folder: Path, ours: Collection[str], what: str, flag: str) -> None:
    """Refuse a folder that holds anything but results of before.

    Parameters
    ----------
    folder
        To be made, or with the results of an earlier run.
    ours
        Names of files, one of which is there after an earlier run.
    what, flag
        Name of the results, and option of the command line that gives the folder.

    Raises
    ------
    InputError
        One sentence.
    """
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent} to make {folder.name} in; make it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder, such as {flag} {what}")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not any((folder / name).is_file() for name in ours)
    ):
        raise InputError(f"{folder} holds other things than a {what}; give a new folder")
