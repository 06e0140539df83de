"""Open what a user names: a quantized file, a checkpoint folder, a hub id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.common.errors import InputError

if TYPE_CHECKING:
    from lightmamba.model.config import ModelConfig
    from lightmamba.model.qmodel import QuantizedModel
    from lightmamba.model.tokenizer import Tokenizer
    from lightmamba.numerics.model_formats import Formats

__all__ = [
    "FORMATS",
    "Opened",
    "bundled_checkpoint",
    "bundled_file",
    "is_file",
    "open_engine",
    "open_float",
    "open_sizes",
    "prompt_ids",
    "short_name",
    "tokenizer_of",
]

SUFFIXES = (".safetensors", ".st")
# Names of what the package ships, where no file has them.
BUNDLED, HYBRID = "bundled", "bundled-hybrid"
FORMATS = {"w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}  # bits of weights and activations


def bundled_file(name: str) -> str:
    """Path of a quantized file that the package ships, if ``name`` asks for it; else ``name``."""
    from lightmamba.model.data import demo_file, hybrid_file

    return _own(name, {BUNDLED: demo_file, HYBRID: hybrid_file})


def bundled_checkpoint(name: str) -> str:
    """Folder of a checkpoint that the package ships, if ``name`` asks for it; else ``name``."""
    from lightmamba.model.data import demo_checkpoint, hybrid_checkpoint

    return _own(name, {BUNDLED: demo_checkpoint, HYBRID: hybrid_checkpoint})


def short_name(path: str) -> str:
    """Name of a model for people: of what the package ships without its folder."""
    shipped = Path(__file__).parents[1] in Path(path).parents
    return Path(path).name if shipped else path


def _own(name: str, shipped: Mapping[str, Callable[[], Path]]) -> str:
    return str(shipped[name]()) if name in shipped and not Path(name).exists() else name


def is_file(name: str) -> bool:
    """Whether ``name`` means a quantized file rather than a checkpoint.

    Raises
    ------
    InputError
        If it is neither a file, a folder, nor what a hub id looks like.
    """
    path = Path(name).expanduser()
    if path.is_file() or (path.suffix in SUFFIXES and not path.is_dir()):
        return True
    if not path.exists() and name.count("/") != 1:
        raise InputError(
            f"there is no file or folder {name}; give a quantized file, a checkpoint's folder, "
            f"or a hub id, for example state-spaces/mamba2-130m"
        )
    return False


@dataclass(frozen=True)
class Opened:
    """A model that gives logits, and what came with it.

    Parameters
    ----------
    model
        The integer engine of a quantized file, or the float model of a checkpoint.
    tokenizer
        Content of its tokenizer.json.
    special_ids
        By "bos", "eos" and "pad", where known; several where a text may end in several ways.
    chat_template, generation_config
        As in the checkpoint, of a quantized file.
    hashes
        sha256 of a checkpoint's files, which loading takes anyway.
    """

    model: Any
    tokenizer: bytes | None
    special_ids: Mapping[str, int | list[int]]
    chat_template: str | None = None
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(model: "QuantizedModel", decoder: Any) -> "Opened":
        """A quantized model, and what runs it."""
        return Opened(
            decoder, model.tokenizer, model.special_ids, model.chat_template,
            model.generation_config,
        )  # fmt: skip

    def ids(self, name: str) -> tuple[int, ...]:
        """Special ids of this name, none where none is known."""
        found = self.special_ids.get(name, [])
        return tuple(found) if isinstance(found, list) else (found,)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a text."""
        return self.ids("eos")

    @property
    def stop_ids(self) -> list[int]:
        """End-of-text ids that the model can sample."""
        return [token for token in self.eos_ids if token < self.model.valid_vocab]


def open_engine(name: str, threads: int) -> Opened:
    """Integer engine of a quantized file."""
    from lightmamba.engine import Engine
    from lightmamba.model.qmodel import load

    _no_folder(Path(name))
    model = load(Path(name))
    return Opened.of(model, Engine(model, threads=threads))


def _no_folder(path: Path) -> None:
    """Refuse a folder in the place of a quantized file, and say what to do with it."""
    from lightmamba.hardware.machine.artifact import MANIFEST, MODEL

    if (path / MANIFEST).is_file() and (path / MODEL).is_file():
        raise InputError(
            f"{path} is a build, not a quantized file; the one that it runs is {path / MODEL}"
        )
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a quantized file; "
            f"make one with: lightmamba quantize {path} -o m.safetensors"
        )


def open_sizes(name: str, form: str | None) -> "tuple[ModelConfig, Formats, Path | None]":
    """Sizes and arithmetic of a quantized file, or of a named shape, and the file if it is one.

    Parameters
    ----------
    name
        File or shape.
    form
        Key of :data:`FORMATS`, for shapes only; w4a4 by default.

    Raises
    ------
    InputError
        If it is neither, or the format is not right.
    """
    from lightmamba.model.config import PUBLISHED
    from lightmamba.model.qmodel import load_sizes
    from lightmamba.numerics.model_formats import Formats

    path = Path(name)
    if name not in PUBLISHED or path.is_file():
        _no_folder(path)
        if not path.exists():
            raise InputError(
                f"there is no file {path}; give a quantized file, or a shape: "
                f"{', '.join(PUBLISHED)}"
            )
        if form is not None:
            raise InputError(f"--format is for shapes, but {path} is a file")
        return *load_sizes(path), path
    if (key := form or "w4a4") not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}, not {form}")
    weights, activations = FORMATS[key]
    return PUBLISHED[name], Formats(weights, activations, head_weight_bits=weights), None


def open_float(
    name: str, revision: str | None, tokenizer: Path | None, threads: int, engine: Any = None
) -> Opened:
    """Float model of a checkpoint.

    With the ``engine`` of a file made from it, a checkpoint without a tokenizer takes over what the
    file knows of the vocabulary's padding.
    """
    import torch

    from lightmamba.model.checkpoint import load_checkpoint
    from lightmamba.model.reference import FloatModel

    torch.set_num_threads(threads)
    found = load_checkpoint(name, revision=revision, tokenizer=tokenizer)
    valid = found.valid_vocab
    if engine is not None and found.tokenizer is None:
        same = engine.vocab_size == found.config.vocab_size
        valid = engine.valid_vocab if same else valid
    model, hashes = FloatModel(found.model, valid), found.source.hashes
    return Opened(model, found.tokenizer, found.special_ids, hashes=hashes)


def tokenizer_of(data: bytes | None, valid_vocab: int, name: str) -> "Tokenizer":
    """The tokenizer that came with a model.

    Raises
    ------
    InputError
        If there is none, or it is of another vocabulary.
    """
    from lightmamba.model.tokenizer import Tokenizer, check_vocab

    if data is None:
        how = f"quantize again with --tokenizer FILE, a tokenizer.json, to make {name}"
        if Path(name).is_dir() or not is_file(name):
            how = "give one with --tokenizer FILE, a tokenizer.json"
        raise InputError(f"{name} has no tokenizer, so text cannot be read; {how}")
    tokenizer = Tokenizer.from_bytes(data)
    check_vocab(tokenizer, valid_vocab)
    return tokenizer


def prompt_ids(
    text: str | None, numbers: str | None, tokenizer: "Tokenizer | None", valid_vocab: int
) -> list[int]:
    """Ids of a prompt, given as text or as numbers; without either, id 0.

    Raises
    ------
    InputError
        If both are given, text without a tokenizer, something else than numbers, or an id that the
        model does not have.
    """
    if text is not None and numbers is not None:
        raise InputError("give either --prompt or --prompt-ids, not both")
    if text is not None:
        if tokenizer is None:
            raise InputError(
                'the model has no tokenizer, so text cannot be read; try --prompt-ids "1 2 3"'
            )
        ids = [int(i) for i in tokenizer.encode(text)]
    else:
        words = "0" if numbers is None else numbers
        try:
            ids = [int(word) for word in words.split()]
        except ValueError:
            raise InputError(
                f'--prompt-ids takes numbers, such as "1 2 3", not {words!r}'
            ) from None
    if not ids:
        raise InputError("the prompt has no tokens; give at least one, such as --prompt 'The'")
    if wrong := [i for i in ids if not 0 <= i < valid_vocab]:
        raise InputError(f"token id {wrong[0]} is out of range; ids are 0 to {valid_vocab - 1}")
    return ids
