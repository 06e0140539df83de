"""Devices by name: those of this project, and of any package that declares one.

A package declares a device by an entry point in the group ``lightmamba.devices``: a function that
takes an opened build and options as keyword arguments, and returns a
:class:`~lightmamba.device.host.device.Device` that is made for that build, and has not loaded it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.host.device import Device
from lightmamba.device.host.recording import RecordingDevice
from lightmamba.hardware.machine.artifact import Artifact

__all__ = [
    "GROUP", "check_device", "check_speculation", "device_names", "open_named", "parse_options",
]  # fmt: skip

GROUP = "lightmamba.devices"


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def device_names() -> list[str]:
    """Names of all devices that are installed."""
    return sorted(_found())


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """Options written as ``key=value``.

    Raises
    ------
    InputError
        If one is not.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(
                f"a device option is key=value, such as xclbin=lightmamba.xclbin, not {text!r}"
            )
        found[key] = value
    return found


def check_device(name: str, *, engine: bool = True) -> None:
    """Refuse a name that no device has, before anything is opened; ``engine`` is the CPU.

    Parameters
    ----------
    name
        Of the device.
    engine
        Whether the engine will do.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    names = ["engine"] * engine + device_names()
    if name not in names:
        raise InputError(f"--device must be one of {', '.join(names)}, not {name}")


def check_speculation(device: str, artifact: Artifact) -> None:
    """Refuse to draft tokens on a device that takes one in a pass, before it is opened.

    Raises
    ------
    InputError
        If the hardware of the build does.
    """
    if device != "engine" and not artifact.arch.undecided:
        raise InputError(
            f"{device} takes one token in a pass with {artifact.path}, so there is nothing to "
            f"draft; speculate on the engine, or compile for a target of several tokens"
        )


def open_named(
    name: str,
    artifact: Artifact,
    options: Mapping[str, str] | None = None,
    *,
    record: Path | None = None,
    sequences: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Device:
    """Open a device and load a build onto it.

    Parameters
    ----------
    name, artifact, options
        The device, the build, and what the device wants to know.
    record
        A file for every call of the driver.
    sequences
        How many may have their states on the device at a time.
    progress
        Called while the build is loaded: bytes so far, and in all.

    Raises
    ------
    InputError
        If there is no device of this name, an option is unknown or missing, or the device says so.
    DeviceError
        If the device does not do what its contract says.
    """
    check_device(name, engine=False)
    entries, options = _found(), dict(options or {})
    opener = entries[name].load()
    known = {
        key: parameter.default is parameter.empty
        for key, parameter in inspect.signature(opener).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    if unknown := set(options) - set(known):
        raise InputError(
            f"device {name} has no option {min(unknown)}; it has {', '.join(known) or 'none'}"
        )
    if missing := [key for key, needed in known.items() if needed and key not in options]:
        raise InputError(f"device {name} needs the option {missing[0]}; give it as "
                         f"--device-option {missing[0]}=...")  # fmt: skip
    try:
        device: Device = opener(artifact, **options)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"device {name}: an option has a value of the wrong kind: {error}"
        ) from error
    try:
        if record is not None:
            device = RecordingDevice(device, record)
        device.progress = progress
        device.load(artifact, sequences)
    except BaseException:
        with suppress(DeviceError):  # the first error is what counts
            device.close()
        raise
    return device
