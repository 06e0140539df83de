"""The quantized model file: safetensors with one metadata entry (docs/reference/quantized-model.md).

Reading checks every tensor's name, type and shape against the sizes in the metadata.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError
from lightmamba.numerics.formats import pack, unpack
from lightmamba.qmodel.formats import Formats
from lightmamba.qmodel.model import (
    Exponents,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedModel,
    Table,
)

__all__ = ["KEY", "VERSION", "load", "save", "to_bytes"]

KEY, VERSION = "lightmamba", 1
Shape = tuple[int, ...]

# Vectors of one layer: name -> (type, shape).
VECTORS: dict[str, tuple[str, Callable[[Mamba2Config], Shape]]] = {
    "conv_weight": ("int8", lambda c: (c.d_conv, c.conv_dim)),
    "conv_bias": ("int32", lambda c: (c.conv_dim,)),
    "conv_in_shift": ("int8", lambda c: (c.conv_dim,)),
    "conv_out_shift": ("int8", lambda c: (c.conv_dim,)),
    "dt_bias": ("int16", lambda c: (c.nheads,)),
    "A": ("int16", lambda c: (c.nheads,)),
    "A_shift": ("int8", lambda c: (c.nheads,)),
    "D": ("int16", lambda c: (c.nheads,)),
    "gate_weight": ("int16", lambda c: (c.d_inner,)),
}
OPTIONAL = {"input_scale": "int16", "input_shift": "int16", "bias": "int32"}
NUMBERS = ("base", "act_base", "acc_shift", "input_scale_exp", "input_shift_exp")


def _linear_out(tensors: dict[str, Any], name: str, linear: QuantizedLinear, bits: int) -> None:
    tensors[f"{name}.q"] = pack(linear.q, bits)
    tensors[f"{name}.code"] = linear.code
    for extra in OPTIONAL:
        if (value := getattr(linear, extra)) is not None:
            tensors[f"{name}.{extra}"] = value


def to_bytes(model: QuantizedModel) -> bytes:
    """Serialize; the same model always gives the same bytes."""
    f = model.formats
    tensors: dict[str, NDArray[Any]] = {
        "embedding.q": pack(model.embedding.q, 8),
        "embedding.code": model.embedding.code,
        "calibration_windows": model.calibration_windows,
    }
    if model.tokenizer is not None:
        tensors["tokenizer"] = np.frombuffer(model.tokenizer, dtype=np.uint8)
    _linear_out(tensors, "head", model.head, f.head_weight_bits)
    layers = []
    for i, layer in enumerate(model.layers):
        for name in VECTORS:
            tensors[f"layers.{i}.{name}"] = getattr(layer, name)
        for name in ("in_proj", "out_proj"):
            _linear_out(tensors, f"layers.{i}.{name}", getattr(layer, name), f.weight_bits)
        layers.append(
            {
                "exponents": asdict(layer.exponents),
                "eps_gate": layer.eps_gate,
                "in_proj": {n: getattr(layer.in_proj, n) for n in NUMBERS},
                "out_proj": {n: getattr(layer.out_proj, n) for n in NUMBERS},
            }
        )
    config = asdict(model.config)
    config["dt_limit"] = [repr(float(x)) for x in model.config.dt_limit]
    header = {
        "version": VERSION,
        "config": config,
        "formats": asdict(f),
        "valid_vocab": model.valid_vocab,
        "embedding": {"base": model.embedding.base},
        "head": {n: getattr(model.head, n) for n in NUMBERS},
        "layers": layers,
        "residual_exp": model.residual_exp,
        "logit_exp": model.logit_exp,
        "eps": model.eps,
        "dt_limits": list(model.dt_limits),
        "origin": model.origin,
        "chat_template": model.chat_template,
        "generation_config": model.generation_config,
        "special_ids": model.special_ids,
    }
    contiguous = {name: np.ascontiguousarray(t) for name, t in tensors.items()}
    return serialize(contiguous, {KEY: json.dumps(header, sort_keys=True, allow_nan=False)})


def save(model: QuantizedModel, path: Path, *, force: bool = False) -> int:
    """Write the file aside, then rename it, so that a full disk leaves the old one whole.

    Returns the number of bytes.

    Raises
    ------
    InputError
        If the file exists and ``force`` is not given, or it cannot be written.
    """
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another name, or --force to replace it")
    data = to_bytes(model)
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except OSError as error:
        Path(aside).unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}; nothing was replaced") from error
    return len(data)


class _Reader:
    """Tensors of an open file, each checked as it is taken."""

    def __init__(self, path: Path, handle: Any) -> None:
        self.path, self.handle, self.names = path, handle, set(handle.keys())

    def take(self, name: str, kind: str, shape: Shape | None) -> NDArray[Any]:
        if name not in self.names:
            raise InputError(f"{self.path} lacks the tensor {name}; quantize the checkpoint again")
        self.names.remove(name)
        tensor: NDArray[Any] = self.handle.get_tensor(name)
        if tensor.dtype != kind or (shape is not None and tensor.shape != shape):
            raise InputError(
                f"{self.path}: {name} is {tensor.dtype} {tensor.shape}, expected {kind} {shape}"
            )
        return tensor

    def linear(
        self, name: str, shape: tuple[int, int], bits: int, group: int, numbers: dict[str, int]
    ) -> QuantizedLinear:
        rows, channels = shape
        packed = self.take(f"{name}.q", "uint8", (rows, channels * bits // 8))
        extras = {
            extra: self.take(f"{name}.{extra}", kind, (rows if extra == "bias" else channels,))
            for extra, kind in OPTIONAL.items()
            if f"{name}.{extra}" in self.names
        }
        code = self.take(f"{name}.code", "uint8", (rows, channels // group))
        return QuantizedLinear(unpack(packed, bits), code, **numbers, **extras)


def load(path: Path) -> QuantizedModel:
    """Read and check a file.

    Raises
    ------
    InputError
        If it is missing, not a quantized model, cut short, or not what its metadata says.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is no file; make one with: lightmamba quantize CKPT -o {path}")
    try:
        with safe_open(path, framework="numpy") as handle:
            metadata = handle.metadata() or {}
            if KEY not in metadata:
                raise InputError(
                    f"{path} is a safetensors file but no quantized model; "
                    f"make one with: lightmamba quantize CKPT -o FILE"
                )
            return _read(path, json.loads(metadata[KEY]), _Reader(path, handle))
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no quantized model ({error})") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} has metadata that does not fit ({error!r})") from error


def _read(path: Path, header: dict[str, Any], reader: _Reader) -> QuantizedModel:
    if header["version"] != VERSION:
        raise InputError(f"{path} is of version {header['version']}; this program reads {VERSION}")
    sizes = header["config"]
    low, high = (float(x) for x in sizes.pop("dt_limit"))
    c, f = Mamba2Config(**sizes, dt_limit=(low, high)), Formats(**header["formats"])
    inner, outer = f.in_channels(c), f.out_channels(c)
    layers = []
    for i, numbers in enumerate(header["layers"]):
        at = f"layers.{i}"
        vectors = {n: reader.take(f"{at}.{n}", k, s(c)) for n, (k, s) in VECTORS.items()}
        layers.append(
            QuantizedLayer(
                in_proj=reader.linear(
                    f"{at}.in_proj", (c.d_in_proj, inner), f.weight_bits, f.group,
                    numbers["in_proj"],
                ),
                out_proj=reader.linear(
                    f"{at}.out_proj", (c.d_model, outer), f.weight_bits, f.group,
                    numbers["out_proj"],
                ),
                exponents=Exponents(**numbers["exponents"]),
                eps_gate=numbers["eps_gate"],
                **vectors,
            )
        )  # fmt: skip
    if len(layers) != c.n_layer:
        raise InputError(f"{path} has numbers for {len(layers)} layers, expected {c.n_layer}")
    table = Table(
        unpack(reader.take("embedding.q", "uint8", (c.vocab_size, inner)), 8),
        reader.take("embedding.code", "uint8", (c.vocab_size, inner // f.group)),
        header["embedding"]["base"],
    )
    head = reader.linear(
        "head", (c.vocab_size, inner), f.head_weight_bits, f.group, header["head"]
    )
    tokenizer = None
    if "tokenizer" in reader.names:
        tokenizer = reader.take("tokenizer", "uint8", None).tobytes()
    windows = reader.take("calibration_windows", "uint64", None)
    if reader.names:
        raise InputError(f"{path} has an unknown tensor {min(reader.names)}")
    plain = {x.name for x in fields(QuantizedModel)} & set(header)
    rest = {n: header[n] for n in plain - {"config", "formats", "embedding", "head", "layers"}}
    return QuantizedModel(
        config=c, formats=f, embedding=table, layers=tuple(layers), head=head,
        tokenizer=tokenizer, calibration_windows=windows,
        **{**rest, "dt_limits": tuple(header["dt_limits"])},
    )  # fmt: skip
