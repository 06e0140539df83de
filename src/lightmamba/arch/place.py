"""Where a build's memory lies: regions at offsets of their channels, and addresses by name.

A build does not know the addresses of a board. It counts from the beginning of each channel, and
every register that holds an address names channel, region and offset instead. Whoever loads the
build adds the base address of each channel, which the allocator of the board gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightmamba.arch.target import Target
from lightmamba.common.plain import build, checked

__all__ = [
    "Place", "Region", "Setting", "copies", "extents", "offset_in_channel", "parse_setting",
    "resolve",
]  # fmt: skip

EXAMPLE = '{"channel": "hbm0", "region": "lane0", "offset": 0}'


@dataclass(frozen=True)
class Region:
    """A contiguous piece of a channel's memory; without a file it begins as zeros.

    Parameters
    ----------
    address : int
        Bytes from the beginning of the channel.
    """

    name: str
    channel: str
    address: int
    bytes: int
    file: str | None = None


@dataclass(frozen=True)
class Place:
    """An address that is known when the build is loaded: an offset in bytes into a region."""

    channel: str
    region: str
    offset: int = 0


Setting = int | Place | list[int | Place]  # value of a register, or of several side by side


def copies(client: str) -> tuple[str, str]:
    """Regions of a state that lies twice: a token reads one and writes the other."""
    return client, f"{client}_other"


def parse_setting(value: Any, name: str) -> Any:
    """Setting of a register from the plain value of a manifest.

    Raises
    ------
    ValueError
        One sentence that names the register.
    """
    if isinstance(value, list):
        return [parse_setting(each, name) for each in value]
    at = f"registers.{name}"
    return build(Place, value, at, EXAMPLE) if isinstance(value, dict) else checked(value, int, at)


def resolve(
    setting: Setting, regions: Mapping[str, Region], bases: Mapping[str, int]
) -> int | list[int]:
    """Numbers for registers, when each channel begins at its address in ``bases``."""
    if isinstance(setting, list):
        return [_number(each, regions, bases) for each in setting]
    return _number(setting, regions, bases)


def offset_in_channel(place: Place, regions: Mapping[str, Region]) -> int:
    """Bytes from the beginning of the place's channel."""
    return regions[place.region].address + place.offset


def _number(value: int | Place, regions: Mapping[str, Region], bases: Mapping[str, int]) -> int:
    if isinstance(value, Place):
        return bases[value.channel] + offset_in_channel(value, regions)
    return value


def extents(regions: Sequence[Region], target: Target) -> dict[str, tuple[int, int]]:
    """Bytes that a build needs on each channel, and what its base must be a multiple of."""
    found = {channel.name: (0, channel.alignment) for channel in target.channels}
    for region in regions:
        size, alignment = found[region.channel]
        found[region.channel] = max(size, region.address + region.bytes), alignment
    return found
