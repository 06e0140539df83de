"""The flags with which a verb runs on a device."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmamba.arch.artifact import Artifact
    from lightmamba.runtime.device import Device

__all__ = ["add_device", "open_device"]


def add_device(parser: argparse.ArgumentParser, *, default: str | None = "engine") -> None:
    """Add ``--device``, ``--device-option`` and ``--record``."""
    what = "sim, uio, xrt, or one that is installed"
    parser.add_argument(
        "--device", default=default, required=default is None, metavar="NAME",
        help=what if default is None else f"what runs it: engine, {what} ({default})",
    )  # fmt: skip
    parser.add_argument("--device-option", action="append", default=[], metavar="KEY=VALUE",
                        help="of the device, such as xclbin=FILE; repeatable")  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="write every call of the driver, for a bug report")  # fmt: skip


def open_device(artifact: "Artifact", args: argparse.Namespace) -> "Device":
    """The device that the flags name, with the build loaded.

    Raises
    ------
    InputError
        If there is none of that name, or it is not for this build.
    """
    from lightmamba.cli.show import working
    from lightmamba.runtime.devices import open_named, parse_options
    from lightmamba.runtime.recording import RecordingDevice

    options = parse_options(args.device_option)
    doing = {"sim": "building the simulator (a minute or two, the first time)"}
    with working(doing.get(args.device, f"opening device {args.device}")):
        device = open_named(args.device, artifact, options)
        if args.record is None:
            return device
        recorded = RecordingDevice(device, args.record)
        recorded.load(artifact)
        return recorded
