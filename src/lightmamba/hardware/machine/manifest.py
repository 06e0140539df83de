"""The manifest of a build and its validation.

A manifest may come from somebody else, so names are checked before they are used as paths. Whether
regions and registers are those of the model on the target, the compiler knows (``read_build``).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightmamba.arch.config import ArchConfig, build_hash
from lightmamba.arch.place import Region, parse_setting
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.arch.target import Target
from lightmamba.common.errors import shown
from lightmamba.common.files import SHA256
from lightmamba.common.plain import build, checked
from lightmamba.hardware.machine.program import instructions

__all__ = ["ORDERS", "PROGRAM", "Region", "Stored", "entries", "seal"]

ORDERS = ("reordered", "naive")  # of the rows of in_proj
PROGRAM = "program.bin"
FILE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # inside the build, at most one folder deep
EXAMPLES = {
    "regions": '{"name": "state", "channel": "hbm0", "address": 0, "bytes": 4096, "file": null}',
    "files": '{"bytes": 4096, "sha256": "..."}',
}


@dataclass(frozen=True)
class Stored:
    """Size and hash of a file of the build."""

    bytes: int
    sha256: str


def seal(values: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its entry ``sha256``, as one line of JSON with sorted keys."""
    rest = {name: value for name, value in values.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def entries(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an ``Artifact``, all but its path, from the manifest's plain values.

    Raises
    ------
    ValueError
        One sentence: which entry is wrong, what it is, and what it must be.
    """
    for name, kind in (("target", dict), ("arch", dict), ("hash", int), ("order", str),
                       ("regions", list), ("registers", dict), ("model", dict),
                       ("files", dict), ("sha256", str)):  # fmt: skip
        if name not in values:
            raise ValueError(f"{name} is missing")
        checked(values[name], kind, name)
    if values["sha256"] != seal(values):
        raise ValueError("an entry has changed since it was compiled")
    target, arch = Target.from_dict(values["target"]), ArchConfig.from_dict(values["arch"])
    if values["hash"] != (wanted := build_hash(arch)):
        raise ValueError(f"hash is {shown(values['hash'])}, but that of arch is {wanted}")
    if values["order"] not in ORDERS:
        raise ValueError(f"order must be {' or '.join(ORDERS)}, not {shown(values['order'])}")
    files = {name: _stored(name, stored) for name, stored in values["files"].items()}
    _check_program(files, arch)
    regions = tuple(
        build(Region, region, f"regions.{n}", EXAMPLES["regions"])
        for n, region in enumerate(values["regions"])
    )
    for region in regions:
        _check_region(region, files)
    registers = {name: parse_setting(v, name) for name, v in values["registers"].items()}
    model = values["model"]
    if (file := model.get("file")) is not None and checked(file, str, "model.file") not in files:
        raise ValueError(f"model.file is {shown(file)}, which is not among the files")
    return {
        "target": target, "arch": arch, "order": values["order"], "regions": regions,
        "registers": registers, "model": model, "files": files,
    }  # fmt: skip


def _stored(name: str, values: Any) -> Stored:
    if not FILE.fullmatch(name):
        raise ValueError(f"files has {shown(name)}, which is no name inside a build")
    stored = build(Stored, values, f"files.{name}", EXAMPLES["files"])
    _within(f"files.{name}.bytes", stored.bytes, 0, 1 << ADDRESS_BITS)
    if not SHA256.fullmatch(stored.sha256):
        raise ValueError(f"files.{name}.sha256 must be 64 hexadecimal digits")
    return stored


def _check_program(files: Mapping[str, Stored], arch: ArchConfig) -> None:
    if PROGRAM not in files:
        raise ValueError(f"files lacks {PROGRAM}")
    size, one = files[PROGRAM].bytes, instructions(arch.kinds, wide=arch.wide).bits // 8
    if size % one or not one <= size <= arch.program * one:
        raise ValueError(
            f"{PROGRAM} has {size} bytes, expected 1 to {arch.program} instructions of {one}"
        )


def _check_region(region: Region, files: Mapping[str, Stored]) -> None:
    at = f"region {shown(region.name)}"
    _within(f"{at}: bytes", region.bytes, 0, 1 << ADDRESS_BITS)
    if region.file is None:
        return
    if region.file not in files:
        raise ValueError(f"{at}: its file {shown(region.file)} is not among the files")
    if files[region.file].bytes != region.bytes:
        raise ValueError(
            f"{at}: it has {region.bytes} bytes, but its file {files[region.file].bytes}"
        )


def _within(what: str, value: Any, low: int, high: int) -> None:
    if not low <= checked(value, int, what) <= high:
        raise ValueError(f"{what} is {shown(value)}, expected {low} to {high}")
