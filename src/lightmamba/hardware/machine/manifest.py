"""The manifest of a build and its validation: nothing in it is trusted before.

A manifest may come from somebody else, so names are checked before they are used as paths, and each
number must be in the range that hardware, driver and simulator accept.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightmamba.arch.clients import HEAD, LAYER
from lightmamba.arch.config import ArchConfig, build_hash
from lightmamba.arch.place import Place, Region, Setting, parse_setting
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.arch.target import CHOICES, Target
from lightmamba.common.errors import shown
from lightmamba.common.files import SHA256
from lightmamba.common.plain import build, checked
from lightmamba.hardware.machine.ports import clients, of_lanes
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.registers import named

__all__ = ["ORDERS", "PROGRAM", "Region", "Stored", "entries", "seal"]

ORDERS = ("reordered", "naive")  # of the rows of in_proj
PROGRAM = "program.bin"
FILE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # inside the build, at most one folder deep
KEPT = (HEAD, LAYER)  # shapes of clients whose regions the host reads and writes
FREE = {
    "state_elements",
    "state_fifo",
    "attention_channels",
    "attention_rows",
}  # choices of a target that the shape of a model may lower
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
    _check_machine(target, arch, values["hash"])
    if values["order"] not in ORDERS:
        raise ValueError(f"order must be {' or '.join(ORDERS)}, not {shown(values['order'])}")
    files = {name: _stored(name, stored) for name, stored in values["files"].items()}
    _check_program(files, arch)
    regions = tuple(
        build(Region, region, f"regions.{n}", EXAMPLES["regions"])
        for n, region in enumerate(values["regions"])
    )
    _check_regions(regions, files, target, arch)
    registers = {name: parse_setting(v, name) for name, v in values["registers"].items()}
    _check_registers(registers, {region.name: region for region in regions}, arch)
    model = values["model"]
    if (file := model.get("file")) is not None and checked(file, str, "model.file") not in files:
        raise ValueError(f"model.file is {shown(file)}, which is not among the files")
    return {
        "target": target, "arch": arch, "order": values["order"], "regions": regions,
        "registers": registers, "model": model, "files": files,
    }  # fmt: skip


def _check_machine(target: Target, arch: ArchConfig, hashed: int) -> None:
    """Build parameters are those of the target, and the hash is theirs."""
    if hashed != (wanted := build_hash(arch)):
        raise ValueError(f"hash is {shown(hashed)}, but that of arch is {wanted}")
    chosen, built = asdict(target.machine), asdict(arch)
    for name in CHOICES:
        if name not in FREE and chosen[name] != built[name]:
            raise ValueError(f"arch.{name} is {built[name]}, but the target's is {chosen[name]}")


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


def _check_regions(
    regions: tuple[Region, ...], files: Mapping[str, Stored], target: Target, arch: ArchConfig
) -> None:
    """Refuse regions named twice, off the target's channels, overlapping or of another size."""
    names = [region.name for region in regions]
    if len(set(names)) < len(names):
        raise ValueError(f"two regions are called {max(names, key=names.count)}")
    needed = ["logits", *(client.name for client in clients(arch, *KEPT)), *of_lanes(arch)]
    if missing := [name for name in needed if name not in names]:
        raise ValueError(f"there is no region {missing[0]}")
    channels = {channel.name for channel in target.channels}
    free = dict.fromkeys(channels, 0)
    for region in sorted(regions, key=lambda region: region.address):
        at = f"region {shown(region.name)}"
        if region.channel not in channels:
            raise ValueError(f"{at}: the target has no channel {shown(region.channel)}")
        _within(f"{at}: bytes", region.bytes, 0, 1 << ADDRESS_BITS)
        top = (1 << ADDRESS_BITS) - region.bytes
        _within(f"{at}: address", region.address, free[region.channel], top)
        free[region.channel] = region.address + region.bytes
        if region.file is None:
            continue
        if region.file not in files:
            raise ValueError(f"{at}: its file {shown(region.file)} is not among the files")
        if files[region.file].bytes != region.bytes:
            raise ValueError(
                f"{at}: it has {region.bytes} bytes, but its file {files[region.file].bytes}"
            )


def _check_registers(
    values: Mapping[str, Setting], regions: Mapping[str, Region], arch: ArchConfig
) -> None:
    """Names of the map that the host may write, and values that fit them."""
    known = named(arch.kinds)
    for name, value in values.items():
        register = known.get(name)
        if register is None or register.access != "rw":
            raise ValueError(f"there is no register {shown(name)} for the host to set up")
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > register.count:
            raise ValueError(f"registers.{name} has {len(numbers)} values, not {register.count}")
        for number in numbers:
            if isinstance(number, Place):
                _check_place(f"registers.{name}", number, regions)
                continue
            _within(f"registers.{name}", number, 0, (1 << 32 * (1 + register.wide)) - 1)


def _check_place(what: str, place: Place, regions: Mapping[str, Region]) -> None:
    region = regions.get(place.region)
    if region is None or region.channel != place.channel:
        raise ValueError(
            f"{what}: there is no region {shown(place.region)} on channel {shown(place.channel)}"
        )
    _within(f"{what}: offset", place.offset, 0, region.bytes)


def _within(what: str, value: Any, low: int, high: int) -> None:
    if not low <= checked(value, int, what) <= high:
        raise ValueError(f"{what} is {shown(value)}, expected {low} to {high}")
