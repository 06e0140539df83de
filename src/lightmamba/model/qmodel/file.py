"""The quantized model file: safetensors and metadata (docs/reference/quantized-model.md)."""

import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Mixer, Sizes
from lightmamba.blocks.tensors import describe
from lightmamba.common.errors import InputError
from lightmamba.common.files import refuse_gguf, replace_file
from lightmamba.common.locks import take_aside
from lightmamba.common.plain import restore, take
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel.check import (
    DTYPES,
    Matrix,
    matrices,
    mixer_tensors,
    tensors,
    validate,
)
from lightmamba.model.qmodel.model import QuantizedLayer, QuantizedLinear, QuantizedModel, Table
from lightmamba.model.qmodel.seal import BLANK, check_seal, seal
from lightmamba.numerics.formats import pack
from lightmamba.numerics.model_formats import Formats

__all__ = ["IN_MEMORY", "KEY", "VERSION", "fingerprint", "load", "load_sizes", "save", "to_bytes"]

KEY, VERSION = "lightmamba", 3
IN_MEMORY = 1 << 28  # bytes of a file that is read whole, at most
NUMBERS = ("base", "act_base", "acc_shift", "input_scale_exp", "input_shift_exp")
WHOLE = ("valid_vocab", "residual_exp", "logit_exp", "eps")
OBJECTS = ("origin", "generation_config", "special_ids")
Tensors = dict[str, NDArray[Any]]
log = logging.getLogger(__name__)


def to_bytes(model: QuantizedModel) -> bytes:
    """Serialize; the same model always gives the same bytes.

    Raises
    ------
    InputError
        If the model is not valid (:func:`~lightmamba.model.qmodel.validate`).
    """
    out = io.BytesIO()
    _write(model, out)
    return out.getvalue()


def save(model: QuantizedModel, path: Path, *, force: bool = False) -> int:
    """Write the file aside, then rename it, so that a full disk leaves the old one whole.

    Layers are asked for one after the other, so they need not be in memory together. Returns the
    number of bytes.

    Raises
    ------
    InputError
        If the file exists and ``force`` is not given, it cannot be written, or the model is not
        valid.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file, such as {path / 'm.st'}")
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another name, or --force to replace it")
    try:
        lock, aside = take_aside(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    try:
        with aside.open("r+b") as file:
            _write(model, file)
        size = aside.stat().st_size
        aside.chmod(0o644)
        replace_file(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(f"cannot write {path}: {error.strerror}; nothing was replaced") from error
    finally:
        os.close(lock)
    return size


def load(path: Path) -> QuantizedModel:
    """Read and check a file.

    Raises
    ------
    InputError
        If it is missing, not a quantized model, cut short, not what its metadata says, or has
        changed since it was written.
    """
    path = Path(path)
    with _opened(path) as handle:
        model = _read(handle, _mapped(path), _checked(handle, path))
    log.info(
        "model %s: %s bytes, %d layers of %d, %d-bit weights, %d-bit activations", path,
        f"{path.stat().st_size:,}", model.config.n_layer, model.config.d_model,
        model.formats.weight_bits, model.formats.act_bits,
    )  # fmt: skip
    return model


def load_sizes(path: Path) -> tuple[ModelConfig, Formats]:
    """Sizes and arithmetic of a file, from its metadata alone.

    Raises
    ------
    InputError
        If it is missing, not a quantized model, or has changed since it was written.
    """
    path = Path(path)
    with _opened(path) as handle:
        return _sizes(_checked(handle, path))


def fingerprint(path: Path, *, again: bool = False) -> str:
    """Hash that a file carries, which is that of its bytes.

    Parameters
    ----------
    path
        The file.
    again
        Read it whole, even if it was found right before and has not changed since.

    Raises
    ------
    InputError
        If it is missing, not a quantized model, or has changed since it was written.
    """
    path = Path(path)
    with _opened(path) as handle:
        return cast(str, _checked(handle, path, again=again)["sha256"])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file; what is wrong with it is said with its name."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; make one with: lightmamba quantize CKPT -o {path}")
    try:
        with safe_open(path, framework="numpy") as handle:
            yield handle
    except SafetensorError as error:
        refuse_gguf(path)
        raise InputError(f"{path} is not a quantized model, or is damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _linear_numbers(linear: QuantizedLinear) -> dict[str, int]:
    return {name: getattr(linear, name) for name in NUMBERS}


def _mixer_numbers(mixer: Mixer) -> dict[str, Any]:
    """Numbers of a mixer by name; those of a group, such as exponents, in an object."""
    named = mixer_tensors(mixer.sizes)
    values = {f.name: getattr(mixer, f.name) for f in fields(cast(Any, mixer))}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
        if name != "sizes" and name not in named
    }


def _header(model: QuantizedModel) -> dict[str, Any]:
    layers = [
        {
            "mixer": _mixer_numbers(layer.mixer),
            **{name: _linear_numbers(linear) for name, linear in layer.linears.items()},
        }
        for layer in model.layers
    ]
    return {
        "version": VERSION,
        "config": model.config.as_dict(),
        "formats": model.formats.as_dict(),
        "embedding": {"base": model.embedding.base},
        "head": _linear_numbers(model.head),
        "layers": layers,
        "chat_template": model.chat_template,
        "sha256": BLANK,
        **{name: getattr(model, name) for name in (*WHOLE, *OBJECTS)},
    }


# Types in the order in which safetensors lays them out, and numpy's names for them.
NUMPY = {"U64": np.uint64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8}
Stored = tuple[str, str, tuple[int, ...], Callable[[], NDArray[Any]]]  # name, type, shape, value


def _write(model: QuantizedModel, out: IO[bytes]) -> None:
    """Write what safetensors would, without having all of it in memory."""
    validate(model)
    metadata = {KEY: json.dumps(_header(model), sort_keys=True, allow_nan=False)}
    entries = {name: (dtype, shape) for name, dtype, shape, _ in _tensors(model)}
    order = list(NUMPY)
    index: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in sorted(entries, key=lambda name: (order.index(entries[name][0]), name)):
        dtype, shape = entries[name]
        start, end = end, end + math.prod(shape) * np.dtype(NUMPY[dtype]).itemsize
        index[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    out.write(len(head).to_bytes(8, "little") + head)
    for name, dtype, shape, value in _tensors(model):
        out.seek(8 + len(head) + index[name]["data_offsets"][0])
        tensor = value()
        assert tensor.dtype == NUMPY[dtype], name
        assert tensor.shape == shape, name
        out.write(np.ascontiguousarray(tensor).data)
    seal(out, 8 + head.rindex(BLANK.encode()))  # no key that is sorted after it is a text


def _plain(name: str, value: NDArray[Any]) -> Stored:
    dtype = next(key for key, kind in NUMPY.items() if kind == value.dtype)
    return name, dtype, value.shape, lambda: value


def _tensors(model: QuantizedModel) -> Iterator[Stored]:
    """Every tensor, layer by layer."""
    yield _plain("calibration_windows", model.calibration_windows)
    if model.tokenizer is not None:
        yield _plain("tokenizer", np.frombuffer(model.tokenizer, dtype=np.uint8))
    named = matrices(model.config, model.formats)
    yield from _matrix("embedding", model.embedding, named["embedding"])
    yield from _matrix("head", model.head, named["head"])
    for i, layer in enumerate(model.layers):
        for which, linear in layer.linears.items():
            name = f"layers.{i}.{which}"
            yield from _matrix(name, linear, named[name])
        for name in mixer_tensors(layer.mixer.sizes):
            yield _plain(f"layers.{i}.{name}", getattr(layer.mixer, name))


def _matrix(name: str, value: QuantizedLinear | Table, matrix: Matrix) -> Iterator[Stored]:
    shape = matrix.rows, matrix.channels * matrix.bits // 8
    words = value.words if isinstance(value, QuantizedLinear) else pack(value.q, matrix.bits)
    yield f"{name}.q", "U8", shape, lambda: words
    yield _plain(f"{name}.code", value.code)
    for extra in matrix.extras():
        if (vector := getattr(value, extra, None)) is not None:
            yield _plain(f"{name}.{extra}", vector)


def _checked(handle: Any, path: Path, *, again: bool = False) -> dict[str, Any]:
    """Entry of the project in the metadata of a file that has the hash that it carries."""
    text = (handle.metadata() or {}).get(KEY)
    if text is None:
        raise InputError(
            "a safetensors file, but not a quantized model; "
            "make one with: lightmamba quantize CKPT -o FILE"
        )
    try:
        header = json.loads(text, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its metadata is no JSON ({error})") from error
    if (version := take(header, "version", int)) != VERSION:
        raise InputError(
            f"of version {version}, but this program reads version {VERSION}; make it again with: "
            "lightmamba quantize CKPT -o FILE"
        )
    check_seal(path, header, again=again)
    return cast(dict[str, Any], header)


def _number(text: str) -> float:
    """A number that can be written again: JSON has no infinity, though Python reads one."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _sizes(header: dict[str, Any]) -> tuple[ModelConfig, Formats]:
    config = ModelConfig.from_dict(take(header, "config", dict))
    return config, Formats.from_dict(header.get("formats"))


def _mapped(path: Path) -> Tensors:
    """Packed integers of a file that safetensors has opened.

    Those of a file of more than :data:`IN_MEMORY` bytes are left on the disk until they are read:
    they are by far its largest part, and an engine reads most of them once, to repack them. So
    nobody may write into such a file meanwhile.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    if path.stat().st_size <= IN_MEMORY:
        data = np.fromfile(path, np.uint8)
    else:
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    found = {}
    for name, entry in header.items():
        if name.endswith(".q") and entry["dtype"] == "U8":
            start, stop = (8 + size + offset for offset in entry["data_offsets"])
            found[name] = data[start:stop].reshape(entry["shape"])
    return found


def _read(handle: Any, mapped: Tensors, header: dict[str, Any]) -> QuantizedModel:
    """Model of an open file."""
    c, f = _sizes(header)
    numbers = take(header, "layers", list)
    if len(numbers) != c.n_layer:
        raise InputError(f"has numbers for {len(numbers)} layers, expected {c.n_layer}")
    found = _arrays(handle, mapped, c, f)
    layers = []
    for i, (entry, sizes) in enumerate(zip(numbers, c.layers, strict=True)):
        at = f"layers.{i}"
        linears = {
            own.name: _linear(
                found, f"{at}.{own.name}", entry, sizes.projection(f, i, own.name).bits
            )
            for own in sizes.matrices(c.d_model, f)
        }
        mixer = _mixer(found, at, take(entry, "mixer", dict, at), sizes)
        layers.append(QuantizedLayer(linears, mixer))
    base = take(take(header, "embedding", dict), "base", int, "embedding")
    tokenizer = found.get("tokenizer")
    rest: dict[str, Any] = {name: take(header, name, int) for name in WHOLE}
    rest |= {name: take(header, name, dict) for name in OBJECTS}
    model = QuantizedModel(
        config=c,
        formats=f,
        embedding=Table(found["embedding.q"].view(np.int8), found["embedding.code"], base),
        layers=tuple(layers),
        head=_linear(found, "head", header, f.head_weight_bits),
        tokenizer=None if tokenizer is None else tokenizer.tobytes(),
        chat_template=header.get("chat_template") and take(header, "chat_template", str),
        calibration_windows=found["calibration_windows"],
        **rest,
    )
    for name, ids in model.special_ids.items():
        for number in ids if isinstance(ids, list) and ids else [ids]:
            take({name: number}, name, int, "special_ids")
            if not 0 <= cast(int, number) < c.vocab_size:
                raise InputError(f"special id {name} is {number}, expected 0 to {c.vocab_size - 1}")
    validate(model)
    return model


def _mixer(found: Tensors, at: str, entry: dict[str, Any], sizes: Sizes) -> Mixer:
    """Mixer of the layer ``at``: its tensors, and its numbers from its entry."""
    values = {name: found[f"{at}.{name}"] for name in mixer_tensors(sizes)}
    made = kind(sizes.kind).Mixer
    return cast(Mixer, restore(made, entry, f"{at}.mixer", sizes=sizes, **values))


def _arrays(handle: Any, mapped: Tensors, c: ModelConfig, f: Formats) -> Tensors:
    """Every tensor, each of the right type and shape, none missing and none too many."""
    must, may = tensors(c, f)
    names = set(handle.keys())
    if missing := set(must) - names:
        raise InputError(f"lacks the tensor {min(missing)}; quantize the checkpoint again")
    if unknown := names - set(must) - set(may):
        raise InputError(f"has the unknown tensor {min(unknown)}")
    found = {}
    for name in sorted(names):
        seen, spec = handle.get_slice(name), must.get(name) or may[name]
        dtype, shape = seen.get_dtype(), tuple(seen.get_shape())  # before numpy sees the type
        if not spec.fits(DTYPES.get(dtype, dtype), shape):
            got = describe(DTYPES.get(dtype, dtype), shape)
            raise InputError(f"{name} is {got}, expected {spec}")
        found[name] = mapped[name] if name in mapped else handle.get_tensor(name)
    return found


def _linear(found: Tensors, name: str, entry: Any, bits: int) -> QuantizedLinear:
    """Projection of this name; its numbers lie in ``entry`` under the last part of the name."""
    owner, _, part = name.rpartition(".")
    numbers = take(entry, part, dict, owner)
    words = found[f"{name}.q"]
    return restore(
        QuantizedLinear, numbers, name, words=words, bits=bits, code=found[f"{name}.code"],
        input_scale=found.get(f"{name}.input_scale"),
        input_shift=found.get(f"{name}.input_shift"), bias=found.get(f"{name}.bias"),
    )  # fmt: skip
