"""Functions that run on a disk that fails; `disk.py` imports them once for all their processes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.files import replace_file
from lightmamba.common.store import Record, Store
from lightmamba.model.qmodel import save
from tests.golden.tiny import tiny_model

__all__ = ["Change", "cache_file", "change_store", "save_model"]

Change = tuple[str, str] | frozenset[str]  # a record to add, or the keys that a rewrite keeps


def change_store(say: Callable[[object], None], path: Path, changes: Sequence[Change]) -> None:
    """Make changes to a store, and say of each whether it is kept."""
    try:
        with Store(path, "--results") as store:
            for change in changes:
                try:
                    if isinstance(change, frozenset):
                        store.rewrite([record for record in store if record.key in change])
                    else:
                        key, value = change
                        store.add(Record(key, {"is": value}))
                except InputError:
                    say(False)
                else:
                    say(True)
    except InputError as error:
        say(str(error))


def save_model(say: Callable[[object], None], path: Path) -> None:
    """Replace a model file, and say why not if it cannot be."""
    try:
        save(tiny_model(), path, force=True)
    except InputError as error:
        say(str(error))


def cache_file(say: Callable[[object], None], path: Path) -> None:
    """Put a file into a cache."""
    fresh = path.with_suffix(".tmp")
    fresh.write_bytes(b"whole")
    replace_file(fresh, path)
    say(True)
