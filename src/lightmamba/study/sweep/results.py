"""The results of a sweep: a record per job in its folder, in the order in which jobs finished."""

from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.files import check_folder
from lightmamba.common.store import Record, Store, read_store

__all__ = ["is_done", "open_results", "read_results"]

RESULTS = "results.jsonl"


def is_done(record: Record) -> bool:
    """Whether a record has a result; of a job that failed it has a sentence."""
    return "error" not in record.values


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


def open_results(folder: Path) -> Store:
    """The results of a folder, which is made if it is not there, for the one process that writes.

    Raises
    ------
    InputError
        If the folder holds something else or cannot be written, or another sweep writes there.
    """
    check_folder(folder, [RESULTS], "sweep", "-o")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}; give another -o DIR") from error
    return Store(folder / RESULTS, "-o")
