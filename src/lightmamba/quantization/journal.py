"""A run on disk: killed at any moment and started again, it goes on, and makes the same bytes.

The folder holds a manifest (which run this is), finished parts, the two residual streams, and
facts.json: how far the run has come, written last. Files of a layer that is not in the facts count
for nothing. Parts and streams carry a hash, which is checked when a run goes on.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from lightmamba.common.errors import InputError
from lightmamba.common.files import sha256_of, sha256_of_arrays
from lightmamba.common.locks import take
from lightmamba.model.qmodel import QuantizedLayer
from lightmamba.numerics.formats import pack, unpack
from lightmamba.quantization.store import Part, Store
from lightmamba.quantization.streams import Rows, disk_error

__all__ = ["Journal", "begun"]

MANIFEST, FACTS, LOCK, KEY, HASH = "manifest.json", "facts.json", "lock", "part", "sha256"
OWN = (".bin", ".safetensors", ".part")  # ends of the names of all other files
LEAST = 10.0  # seconds of work that are worth writing down


class Journal(Store):
    """Keeps a run in a folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    manifest : dict
        What the run depends on, as JSON: a journal with another one is refused.
    least : float
        Seconds after which what is done is written down at the end of a layer.
    restart : bool
        Empty a folder of another run, or one that is damaged, instead of refusing it.

    Raises
    ------
    InputError
        If the folder is of another run or holds something else, is in use, or cannot be written.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], least: float = LEAST, *, restart: bool = False
    ) -> None:
        super().__init__()
        self.folder, self._least = folder, least
        self._last = time.monotonic()
        _refuse_another(folder)
        try:
            self._lock = _taken(folder)
        except BlockingIOError as error:
            raise InputError(
                f"another process is at work in {folder}; wait for it, or give another --output"
            ) from error
        except OSError as error:
            raise disk_error(error, folder) from error
        try:
            try:
                self._open(manifest)
            except InputError:
                if not restart:
                    raise
                self._empty()
                self._open(manifest)
        except InputError:
            os.close(self._lock)
            raise
        self._unread: dict[str, str] = dict(self.facts.get("streams", {}))  # with their hashes
        self._committed = {folder / name for name in self._unread}

    def _open(self, manifest: dict[str, Any]) -> None:
        if not _matches(self.folder, manifest):
            self._write(MANIFEST, _sealed(manifest))
        self.facts = _read(self.folder / FACTS)

    def _empty(self) -> None:
        """Remove all but the lock, the facts first: without them the rest counts for nothing."""
        try:
            (self.folder / FACTS).unlink(missing_ok=True)
            for path in _own(self.folder):
                path.unlink()
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file at once, and wait until the disk has it."""
        path, aside = self.folder / name, self.folder / f".{name}.part"
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            with _opened(self.folder) as folder:
                os.fsync(folder)
        except OSError as error:
            raise disk_error(error, path) from error

    def rows(self, name: str, vectors: int, channels: int, dtype: Any) -> Rows:
        path = self.folder / f"{name}.bin"
        if (wanted := self._unread.pop(path.name, None)) is not None:
            size = vectors * channels * np.dtype(dtype).itemsize
            if not path.is_file() or path.stat().st_size != size or sha256_of(path) != wanted:
                raise _damaged(path)
        return Rows(vectors, channels, dtype, path)

    def drop(self, rows: Rows) -> None:
        rows.close(remove=rows.path not in self._committed)

    def put(self, name: str, part: Part) -> None:
        tensors, numbers = _taken_apart(part)
        text = json.dumps(numbers)
        sealed = {KEY: text, HASH: _hash(tensors, text)}
        self._write(f"{name}.safetensors", serialize(tensors, sealed))

    def get(self, name: str) -> Any:
        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                found, names = file.metadata(), file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            if found[HASH] != _hash(tensors, found[KEY]):
                raise _damaged(path)
            return _put_together(tensors, json.loads(found[KEY]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path) from error

    def commit(self, facts: dict[str, Any], *streams: Rows) -> None:
        if self.facts and streams and time.monotonic() - self._last < self._least:
            return
        for rows in streams:
            rows.sync()
        paths = {rows.path for rows in streams if rows.path is not None}
        self.facts = {**facts, "streams": {path.name: sha256_of(path) for path in sorted(paths)}}
        self._write(FACTS, _sealed(self.facts))
        for old in self._committed - paths:
            old.unlink(missing_ok=True)
        self._committed, self._last = paths, time.monotonic()

    def layers(self, count: int) -> Sequence[QuantizedLayer]:
        return _StoredLayers(self, count)

    def close(self, *, remove: bool) -> None:
        """Let go of the folder, or remove it; files that are not the journal's stay.

        The lock is the last file that goes. A process that takes the folder over in that moment
        makes a new one, and the folder stays.
        """
        if remove:
            with suppress(OSError):
                for path in _own(self.folder):
                    path.unlink()
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        os.close(self._lock)


def begun(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a folder holds parts of the run with this manifest.

    Raises
    ------
    InputError
        If it is of another run, with what differs, holds something else, or is damaged.
    """
    _refuse_another(folder)
    return _matches(folder, manifest) and bool(_read(folder / FACTS))


def _own(folder: Path) -> list[Path]:
    """Files of a journal in a folder, without the lock."""
    return [
        path
        for path in folder.iterdir()
        if path.is_file() and (path.name in (MANIFEST, FACTS) or path.suffix in OWN)
    ]


def _refuse_another(folder: Path) -> None:
    """Refuse a folder that has no manifest, but files that no journal has."""
    if folder.is_dir() and not (folder / MANIFEST).exists():
        own = {folder / LOCK, *_own(folder)}
        if others := sorted(path.name for path in folder.iterdir() if path not in own):
            raise InputError(
                f"{folder} holds {others[0]}, so it is not the journal of a run; move that folder, "
                f"or give another --output"
            )


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is missing or damaged; delete its folder to start again")


def _hash(tensors: "Tensors", text: str) -> str:
    """Hash of the tensors of a part and of its other values."""
    return sha256_of_arrays({**tensors, KEY: np.frombuffer(text.encode(), np.uint8)})


def _matches(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a folder has this manifest; False if it has none."""
    before = _read(folder / MANIFEST)
    for key, value in manifest.items():
        if before and before.get(key) != value:
            was, wanted = _apart(before.get(key), value)
            raise InputError(
                f"{folder} is the journal of a run with another {key} ({was}, not {wanted}); "
                f"finish that run, or delete the folder to start again"
            )
    return bool(before)


def _sealed(value: dict[str, Any]) -> bytes:
    """JSON file of a value and its hash."""
    return json.dumps({**value, HASH: _hash({}, json.dumps(value))}, indent=1).encode()


def _read(path: Path) -> dict[str, Any]:
    """Value of a file that :func:`_sealed` made; empty if there is none."""
    try:
        value = json.loads(path.read_bytes()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if value is None:
        return {}
    found = value.pop(HASH, None) if isinstance(value, dict) else None
    if found is None or found != _hash({}, json.dumps(value)):
        raise _damaged(path)
    return dict(value)


class _StoredLayers(Sequence[QuantizedLayer]):
    """Layers that are read when they are asked for and not kept."""

    def __init__(self, journal: Journal, count: int) -> None:
        self._journal, self._count = journal, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> QuantizedLayer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[QuantizedLayer]: ...
    def __getitem__(self, index: int | slice) -> QuantizedLayer | Sequence[QuantizedLayer]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        layer: QuantizedLayer = self._journal.get(f"layers.{index}")
        return layer


def _taken(folder: Path) -> int:
    """Make a folder if it is not there, and take its lock."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            return take(folder / LOCK)
        except FileNotFoundError:  # its last owner has just removed the folder
            if not folder.parent.is_dir():
                raise


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _apart(was: Any, wanted: Any) -> tuple[str, str]:
    """First lines in which two values differ."""
    lines = zip_longest(str(was).splitlines(), str(wanted).splitlines(), fillvalue="nothing")
    one, other = next((pair for pair in lines if pair[0] != pair[1]), (was, wanted))
    return _short(one), _short(other)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else text[:97] + "..."


Tensors = dict[str, NDArray[Any]]


def _taken_apart(part: Any, prefix: str = "") -> tuple[Tensors, dict[str, Any]]:
    """Arrays of a part by name, integers of weights packed, and all else as JSON."""
    tensors: Tensors = {}
    numbers: dict[str, Any] = {"kind": f"{type(part).__module__}:{type(part).__name__}"}
    for field in fields(part):
        value, name = getattr(part, field.name), prefix + field.name
        if isinstance(value, np.ndarray):
            if field.name == "q":
                numbers["bits"] = bits = 4 if _fits(value) else 8
                value = pack(value, bits)
            tensors[name] = np.ascontiguousarray(value)
        elif is_dataclass(value):
            inner, numbers[field.name] = _taken_apart(value, f"{name}.")
            tensors |= inner
        elif value is not None:
            numbers[field.name] = (
                value if isinstance(value, bool | float | str | tuple) else int(value)
            )
    return tensors, numbers


def _fits(q: NDArray[np.int8]) -> bool:
    return bool(q.shape[-1] % 2 == 0 and q.size and q.min() >= -8 and q.max() <= 7)


def _put_together(tensors: Tensors, numbers: dict[str, Any], prefix: str = "") -> Any:
    """Invert :func:`_taken_apart`."""
    module, _, name = numbers["kind"].partition(":")
    if not module.startswith("lightmamba."):
        raise ValueError(f"{numbers['kind']} is not of this program")
    kind = getattr(import_module(module), name)
    values: dict[str, Any] = {}
    for field in fields(kind):
        name, value = prefix + field.name, numbers.get(field.name)
        if name in tensors:
            packed = field.name == "q"
            values[field.name] = unpack(tensors[name], numbers["bits"]) if packed else tensors[name]
        elif isinstance(value, dict):
            values[field.name] = _put_together(tensors, value, f"{name}.")
        elif value is not None:
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
