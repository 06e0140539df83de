"""The results of a sweep: a record per job in its folder, in the order in which jobs finished."""

from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, Store, read_store

__all__ = ["RESULTS", "Results", "check_folder", "is_done", "read_results"]

RESULTS = "results.jsonl"


def is_done(record: Record) -> bool:
    """Whether a record has a result; of a job that failed it has a sentence."""
    return "error" not in record.values


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a sweep.

    Raises
    ------
    InputError
        One sentence.
    """
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent} to make {folder.name} in; make it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder, such as -o sweep")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RESULTS).is_file():
        raise InputError(f"{folder} holds other things than a sweep; give a new folder")


def read_results(folder: Path) -> list[Record]:
    """Records of a folder, also while a sweep adds to them.

    Raises
    ------
    InputError
        If there are none, or the file is something else.
    """
    if not (folder / RESULTS).is_file():
        raise InputError(
            f"{folder} holds no results of a sweep; make some with: lightmamba sweep PLAN.toml -o "
            f"{folder}"
        )
    return read_store(folder / RESULTS)


class Results(Store):
    """The results of a folder, for the one process that adds to them.

    Parameters
    ----------
    folder
        Made if it is not there.

    Raises
    ------
    InputError
        If another sweep writes there, it cannot be written, or the file is something else.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make {folder}: {error.strerror}; give another -o DIR"
            ) from error
        super().__init__(folder / RESULTS, "-o")
