"""The structs of the kernels, by the fields that the headers of the kernels declare."""

import ctypes
import re
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from lightmamba.native import found

__all__ = [
    "INT", "KINDS", "LOSSES", "POINTER", "Blocks", "Layer", "Linear", "LinearOp", "Model", "PackOp",
    "Panel", "Phase", "QuantizeOp", "RmsOp", "Sequences", "Slot", "Tables", "Transform", "Work",
    "fields", "header", "shared",
]  # fmt: skip

INT, POINTER = ctypes.c_int64, ctypes.c_void_p
FOLDER = Path(__file__).parent


class Phase(IntEnum):
    """Steps of a pass that can be run alone."""

    HADAMARD = 3
    MIXER = 9  # from here on those of the layer's kind


KINDS, LOSSES = (
    found.kinds(),
    found.losses(),
)  # in the order of the kernels


def header(kind: str) -> Path:
    """The header with the structs of a kind of mixer."""
    return FOLDER.parent / "blocks" / kind / "kernels.hpp"


@cache
def _declared(path: Path) -> str:
    """The shared declarations of a header, without comments."""
    text = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
    found = re.search(r"^SHARED\(\w+,\n(.*?)^\)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{path} has no SHARED declarations")
    return found[1]


def squeezed(text: str) -> str:
    """Without white space, of which the preprocessor keeps less than the header has."""
    return re.sub(r"\s", "", text)


def shared() -> list[str]:
    """The texts that a library of these sources has, squeezed, in the order of ``SHARED_TEXTS``."""
    names = ("types.hpp", "kernels.hpp", "events.hpp")
    paths = [*(FOLDER / name for name in names), *map(header, KINDS)]
    return [squeezed(text) for text in (found.names(), *map(_declared, paths))]


def fields(
    name: str, *inner: type[ctypes.Structure], path: Path = FOLDER / "types.hpp"
) -> list[tuple[str, Any]]:
    """Fields of a struct, in the order of its declaration.

    Parameters
    ----------
    name : str
        Of the struct.
    *inner : type
        Structs that it contains, each with its own name.
    path : Path
        The header.

    Raises
    ------
    ValueError
        If the header declares no such struct, or a field of a type that is not known here.
    """
    found = re.search(rf"^struct {name} {{(.*?)^}};", _declared(path), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{path} has no struct {name}")
    body = re.sub(r"\b(?:public|private):", "", found[1])
    body = re.sub(r"[^;{}]*\{[^{}]*\}", "", body)  # functions
    types: dict[str, Any] = {"int64_t": INT, **{struct.__name__: struct for struct in inner}}
    lengths = {"N_KINDS": len(KINDS)}
    out: list[tuple[str, Any]] = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        base, names = declaration.removeprefix("const ").split(maxsplit=1)
        if base.endswith("*"):
            base, names = base.rstrip("*"), f"*{names}"
        for declared in names.split(","):
            match = re.fullmatch(r"[\s*]*(?:const\s*\*\s*)?(\w+)(?:\[(\w+)\])?", declared.strip())
            kind = POINTER if "*" in declared else types.get(base)
            if match is None or kind is None:
                raise ValueError(f"{path}, struct {name}: {declaration} is not understood")
            field, length = match.groups()
            if length is not None:
                kind = kind * (lengths.get(length) or int(length))
            out.append((field, kind))
    return out


class Tables(ctypes.Structure):
    """Functions as tables of nodes."""

    _fields_ = fields("Tables")


class Blocks(ctypes.Structure):
    """Dynamic quantization of blocks."""

    _fields_ = fields("Blocks")


class Linear(ctypes.Structure):
    """One projection."""

    _fields_ = fields("Linear", Blocks)


class Transform(ctypes.Structure):
    """The online Hadamard transform of the input of out_proj."""

    _fields_ = fields("Transform")


class Layer(ctypes.Structure):
    """One layer."""

    _fields_ = fields("Layer", Linear, Transform)


class Model(ctypes.Structure):
    """Sizes, tables, embedding, head and layers."""

    _fields_ = fields("Model", Tables, Linear)


class Slot(ctypes.Structure):
    """A run of tokens of one sequence."""

    _fields_ = fields("Slot")


class Sequences(ctypes.Structure):
    """States of many sequences."""

    _fields_ = fields("Sequences")


class Panel(ctypes.Structure):
    """Input of a projection as its kernel takes it."""

    _fields_ = fields("Panel")


class Work(ctypes.Structure):
    """All intermediates of a pass."""

    _fields_ = fields("Work", Panel)


class RmsOp(ctypes.Structure):
    """1/rms of the rows of an array."""

    _fields_ = fields("RmsOp", path=FOLDER / "kernels.hpp")


class QuantizeOp(ctypes.Structure):
    """Block quantization of the rows of an array."""

    _fields_ = fields("QuantizeOp", Blocks, path=FOLDER / "kernels.hpp")


class LinearOp(ctypes.Structure):
    """A projection of the rows of an array."""

    _fields_ = fields("LinearOp", Linear, Panel, path=FOLDER / "kernels.hpp")


class PackOp(ctypes.Structure):
    """Weights as in the file to panels."""

    _fields_ = fields("PackOp", path=FOLDER / "kernels.hpp")
