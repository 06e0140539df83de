"""A run on disk: killed at any moment and started again, it goes on, and makes the same bytes.

The folder holds finished parts, the two residual streams, and a store (:mod:`common.store`) of two
records: which run this is, and facts, how far it has come, which are written last. Files of a layer
that is not in the facts count for nothing. Parts, streams and records carry a hash, which is
checked when a run goes on.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Mixer
from lightmamba.common.errors import InputError
from lightmamba.common.files import sha256_of
from lightmamba.common.store import Record, Store, read_store
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, Table
from lightmamba.model.qmodel.model import LazyLayers
from lightmamba.quantization.streams import Part, Rows, Run, on_disk

__all__ = ["Journal", "begun"]

RECORDS, WHICH, FACTS, HASH = "run.jsonl", "run", "facts", "sha256"
PART = ".msgpack"
OWN = (".bin", PART, ".part")  # ends of the names of all other files
LEAST = 10.0  # seconds of work that are worth writing down


class Journal(Run):
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
        self._records = _taken(folder, restart=restart)
        try:
            try:
                self.facts = _facts(folder, self._records, manifest)
            except InputError:
                if not restart:
                    raise
                self._empty()
            if self._records.get(WHICH) is None:
                self._note(WHICH, manifest)
        except InputError:
            self._records.close()
            raise
        self._unread: dict[str, str] = dict(self.facts.get("streams", {}))  # with their hashes
        self._committed = {folder / name for name in self._unread}

    def _note(self, key: str, values: dict[str, Any]) -> None:
        """Write a record down, with the hash of its values."""
        with on_disk(self._records.path):
            self._records.add(_sealed(key, values))

    def _empty(self) -> None:
        """Forget the run, its facts first: without them the rest counts for nothing."""
        with on_disk(self._records.path):
            self._records.rewrite([])
        with on_disk(self.folder):
            for path in _own(self.folder):
                path.unlink()

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
        of = part.mixer.sizes.kind if isinstance(part, QuantizedLayer) else ""
        data, path = msgspec.msgpack.encode((of, part), enc_hook=_plain), self._part(name)
        with on_disk(path), path.open("wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def get(self, name: str) -> Any:
        path = self._part(name)
        try:
            content = memoryview(path.read_bytes())
        except OSError as error:
            raise _damaged(path) from error
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise _damaged(path)
        of, values = msgspec.msgpack.decode(content[32:])

        def made(wanted: Any, value: Any) -> Any:
            """A mixer of the layer's kind, or an array."""
            if wanted is Mixer:
                return msgspec.convert(value, kind(of).Mixer, dec_hook=made)
            dtype, shape, data = value
            return np.frombuffer(data, dtype).reshape(shape).copy()

        types = {"embedding": Table, "layers": QuantizedLayer}  # else head, or one projection
        wanted = types.get(name.rpartition(".")[0] or name, QuantizedLinear)
        return msgspec.convert(values, wanted, dec_hook=made)

    def _part(self, name: str) -> Path:
        return self.folder / f"{name}{PART}"

    def commit(self, facts: dict[str, Any], *streams: Rows) -> None:
        if self.facts and streams and time.monotonic() - self._last < self._least:
            return
        for rows in streams:
            rows.sync()
        paths = {rows.path for rows in streams if rows.path is not None}
        self.facts = {**facts, "streams": {path.name: sha256_of(path) for path in sorted(paths)}}
        with on_disk(self.folder):
            _sync(self.folder)
        self._note(FACTS, self.facts)
        for old in self._committed - paths:
            old.unlink(missing_ok=True)
        self._committed, self._last = paths, time.monotonic()

    def layers(self, count: int) -> Sequence[QuantizedLayer]:
        return LazyLayers(count, lambda index: self.get(f"layers.{index}"))

    def close(self, *, remove: bool) -> None:
        """Let go of the folder, or remove it; files that are not the journal's stay.

        The records, which are locked, are the last file that goes. A process that takes the folder
        over in that moment makes new ones, and the folder stays.
        """
        if remove:
            with suppress(OSError):
                for path in _own(self.folder):
                    path.unlink()
                self._records.path.unlink()
                self.folder.rmdir()
        self._records.close()


def begun(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a folder holds parts of the run with this manifest.

    Raises
    ------
    InputError
        If it is of another run, with what differs, holds something else, or is damaged.
    """
    _refuse_another(folder)
    path = folder / RECORDS
    return path.exists() and bool(_facts(folder, read_store(path), manifest))


def _taken(folder: Path, *, restart: bool) -> Store:
    """Make a folder if it is not there, and take its records."""
    while True:
        with on_disk(folder):
            folder.mkdir(exist_ok=True)
        try:
            with on_disk(folder):
                return Store(folder / RECORDS, "--output", restart=restart)
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise  # else its last owner has just removed the folder


def _own(folder: Path) -> list[Path]:
    """Files of a journal in a folder, without its records."""
    return [path for path in folder.iterdir() if path.is_file() and path.suffix in OWN]


def _refuse_another(folder: Path) -> None:
    """Refuse a folder that has no records, but files that no journal has."""
    if folder.is_dir() and not (folder / RECORDS).exists():
        own = _own(folder)
        if others := sorted(path.name for path in folder.iterdir() if path not in own):
            raise InputError(
                f"{folder} holds {others[0]}, so it is not the journal of a run; move that folder, "
                f"or give another --output"
            )


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is missing or damaged; delete its folder to start again")


def _sealed(key: str, values: dict[str, Any]) -> Record:
    """Record of some values and their hash."""
    text = json.dumps(values, sort_keys=True)
    return Record(key, values, made={HASH: hashlib.sha256(text.encode()).hexdigest()})


def _facts(folder: Path, records: Iterable[Record], manifest: dict[str, Any]) -> dict[str, Any]:
    """Facts of a run with this manifest; none if it has not begun."""
    found = {}
    for record in records:
        if record != _sealed(record.key, record.values):
            raise _damaged(folder / RECORDS)
        found[record.key] = record.values
    before = found.get(WHICH, manifest)
    for key, value in manifest.items():
        if before.get(key) != value:
            was, wanted = _apart(before.get(key), value)
            raise InputError(
                f"{folder} is the journal of a run with another {key} ({was}, not {wanted}); "
                f"finish that run, or delete the folder to start again"
            )
    return dict(found.get(FACTS, {}))


def _sync(folder: Path) -> None:
    """Wait until the disk has the names of a folder's files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy, as MessagePack has them."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value.item()


def _apart(was: Any, wanted: Any) -> tuple[str, str]:
    """First lines in which two values differ."""
    lines = zip_longest(str(was).splitlines(), str(wanted).splitlines(), fillvalue="nothing")
    one, other = next((pair for pair in lines if pair[0] != pair[1]), (was, wanted))
    return _short(one), _short(other)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else text[:97] + "..."
