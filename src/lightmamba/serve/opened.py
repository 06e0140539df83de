"""Open what is served: a quantized file, or a build, on the engine or on a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightmamba.common.files import Written
from lightmamba.device.host.devices import check_device, open_named
from lightmamba.hardware.machine.artifact import MODEL
from lightmamba.model.qmodel import fingerprint
from lightmamba.model.qmodel.file import IN_MEMORY
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.serve.backend import MEMORY, Backend, DeviceBackend, EngineBackend
from lightmamba.text.drafting import PiecewiseDrafter
from lightmamba.text.model import Model
from lightmamba.text.pace import MOST

__all__ = ["Served", "open_served"]


@dataclass(frozen=True)
class Served:
    """A model that is ready to answer.

    Parameters
    ----------
    name
        What clients call it.
    backend
        What runs it.
    model
        Its tokenizer, and what else came with its checkpoint.
    fingerprint
        Hash of the file or build, which answers name.
    drafter
        Makes the drafter of a sequence, for speculation.
    written
        Of a model that is read from its file while it is served, whether that was written into.
    """

    name: str
    backend: Backend
    model: Model
    fingerprint: str
    drafter: Callable[[], PiecewiseDrafter] | None = None
    written: Written | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its checkpoint."""
        return self.model.tokenizer


def open_served(
    path: Path,
    *,
    device: str = "engine",
    options: Mapping[str, str] | None = None,
    threads: int = 1,
    slots: int | None = None,
    name: str | None = None,
    speculate: str | None = None,
    memory: int = MEMORY,
) -> Served:
    """Open a quantized file or a build.

    Parameters
    ----------
    path
        The file, or the directory of the build.
    device
        "engine", which runs the model of a build as well, or the name of a device.
    options
        Of the device.
    threads
        Of the engine.
    slots
        Sequences that run together; by default as many as the engine has room for, or the device
        takes in a pass. A device of one token runs one.
    name
        What clients call the model; by default the name of the file or directory.
    speculate
        "ngram", or the path of a smaller quantized file: draft, and verify several in a pass.
    memory
        Bytes of all sequences that run, but for states that lie on a device.

    Raises
    ------
    InputError
        If it is neither, is damaged, has no tokenizer, a device is asked to run a file, or to
        speculate with one token in a pass, the draft model has another vocabulary, or there
        is too little memory.
    """
    check_device(device)
    written = _watched(path) if device == "engine" else None
    model = Model.read(path, device, threads=threads)
    drafter = model.drafter(speculate, device)
    _ = model.tokenizer  # refused now if there is none
    backend: Backend
    if device == "engine" or model.artifact is None:
        backend = EngineBackend(
            model.engine, slots, MOST if drafter else 0, memory=memory,
            drafter=drafter().bytes_for(1, MOST) if drafter else 0,
        )  # fmt: skip
    else:
        many = slots or model.artifact.arch.tokens
        opener = partial(open_named, device, model.artifact, options, sequences=many)
        backend = DeviceBackend(opener, model.quantized, device, memory)
    return Served(
        name or path.absolute().name.removesuffix(".safetensors"), backend, model,
        fingerprint(path) if model.artifact is None else model.artifact.fingerprint, drafter,
        written,
    )  # fmt: skip


def _watched(path: Path) -> Written | None:
    """The file of a model, where the engine reads it as it runs; opened before it is read."""
    file = path / MODEL if path.is_dir() else path
    large = file.is_file() and file.stat().st_size > IN_MEMORY
    return Written(file) if large else None
