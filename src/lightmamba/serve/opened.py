"""Open what is served: a quantized file, or a build, on the engine or on a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.files import Written
from lightmamba.device.host.devices import check_device, check_speculation, open_named
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import MANIFEST, Artifact
from lightmamba.model.qmodel import QuantizedModel, fingerprint, load
from lightmamba.model.qmodel.file import IN_MEMORY
from lightmamba.model.tokenizer import Tokenizer, check_vocab
from lightmamba.serve.backend import MEMORY, Backend, DeviceBackend, EngineBackend
from lightmamba.text.drafting import PiecewiseDrafter, drafter_of
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
    tokenizer
        Of its checkpoint.
    fingerprint
        Hash of the file or build: states of one model are of no use to another.
    chat_template, generation_config, special_ids
        As in the checkpoint.
    drafter
        Makes the drafter of a sequence, for speculation.
    written
        Of a model that is read from its file while it is served, whether that was written into.
    """

    name: str
    backend: Backend
    tokenizer: Tokenizer
    fingerprint: str
    chat_template: str | None = None
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    special_ids: Mapping[str, int | list[int]] = field(default_factory=dict)
    drafter: Callable[[], PiecewiseDrafter] | None = None
    written: Written | None = None

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a text."""
        found = self.special_ids.get("eos", [])
        ids = found if isinstance(found, list) else [found]
        return tuple(i for i in ids if i < self.backend.valid_vocab)


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
    artifact = Artifact.read(path) if device != "engine" or (path / MANIFEST).is_file() else None
    if speculate is not None and artifact is not None:
        check_speculation(device, artifact)
    written = _watched(path, artifact) if device == "engine" else None
    model, fingerprint = _model(path, artifact)
    if model.tokenizer is None:
        raise InputError(
            f"{path} has no tokenizer, so text cannot be read; quantize its checkpoint again with "
            f"--tokenizer FILE, a tokenizer.json"
        )
    tokenizer = Tokenizer.from_bytes(model.tokenizer)
    check_vocab(tokenizer, model.valid_vocab)
    backend: Backend
    drafter = drafter_of(speculate, model, threads) if speculate is not None else None
    if device == "engine" or artifact is None:
        backend = EngineBackend(
            Engine(model, threads=threads), slots, MOST if drafter else 0, memory=memory,
            drafter=drafter().bytes_for(1, MOST) if drafter else 0,
        )  # fmt: skip
    else:
        many = slots or artifact.arch.tokens
        opened = open_named(device, artifact, options, sequences=many)
        backend = DeviceBackend(opened, model, device, memory)
    return Served(
        name or path.absolute().name.removesuffix(".safetensors"), backend, tokenizer, fingerprint,
        model.chat_template, model.generation_config, model.special_ids, drafter, written,
    )  # fmt: skip


def _watched(path: Path, artifact: Artifact | None) -> Written | None:
    """The file of a model, where the engine reads it as it runs."""
    file = path if artifact is None else path / str(artifact.model.get("file", MANIFEST))
    large = file.is_file() and file.stat().st_size > IN_MEMORY
    return Written(file) if large else None


def _model(path: Path, artifact: Artifact | None) -> tuple[QuantizedModel, str]:
    """The model, and the hash of what it was read from."""
    if artifact is not None:
        if artifact.model.get("kind") == "random":
            raise InputError(
                f"{path} was compiled from a shape, so it has random weights and no tokenizer; "
                f"serve a build that was compiled from a quantized file"
            )
        return open_model(artifact), artifact.fingerprint
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, neither a quantized file nor a build; "
            f"make a file with: lightmamba quantize {path} -o m.safetensors"
        )
    return load(path), fingerprint(path)
