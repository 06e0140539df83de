"""The flags with which a verb runs on a device."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightmamba.device.host.device import Device
    from lightmamba.hardware.machine.artifact import Artifact
    from lightmamba.text.model import Model

SIMULATED = ("sim", "ulx3s-sim")  # what is slow about them is to build the simulator

__all__ = ["add_device", "check_device_flags", "open_decoder", "open_device", "read_model"]


def add_device(parser: argparse.ArgumentParser, *, default: str | None = "engine") -> None:
    """Add ``--device``, ``--device-option``, ``--record`` and ``--force``."""
    what = "sim (Verilator), ulx3s, uio or xrt (boards), ulx3s-sim (a whole board in Verilator)"
    parser.add_argument(
        "--device", default=default, required=default is None, metavar="NAME",
        help=what if default is None else f"engine (CPU), {what} (default: {default})",
    )  # fmt: skip
    parser.add_argument("--device-option", action="append", default=[], metavar="KEY=VALUE",
                        help="option of the device, such as xclbin=FILE; repeatable")  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="write every call of the driver, for a bug report")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing recording")


def check_device_flags(args: argparse.Namespace) -> None:
    """Refuse a device that is not there, and flags of a device without one.

    Raises
    ------
    InputError
        If something is wrong with the flags of :func:`add_device`.
    """
    from lightmamba.common.errors import InputError
    from lightmamba.device.host.devices import check_device, parse_options

    check_device(args.device)
    parse_options(args.device_option)
    given = {"--device-option": args.device_option, "--record": args.record}
    for flag, value in given.items():
        if value and args.device == "engine":
            raise InputError(f"{flag} is for a device; give --device sim, uio, ulx3s or xrt too")
    if args.force and args.record is None:
        raise InputError("--force replaces a recording; give --record FILE too")


def open_device(artifact: "Artifact", args: argparse.Namespace) -> "Device":
    """The device that the flags name, with the build loaded.

    Raises
    ------
    InputError
        If there is none of that name, it is not for this build, or the file of ``--record`` exists.
    """
    from lightmamba.cli.show import progress, working
    from lightmamba.common.files import check_output
    from lightmamba.device.host.devices import open_named, parse_options

    options = parse_options(args.device_option)
    if args.record is not None:
        check_output(args.record, force=args.force)
    if args.device in SIMULATED:
        with working("building the simulator (a minute or two, the first time)"):
            return open_named(args.device, artifact, options, record=args.record)
    with progress(f"opening device {args.device}") as bar:
        return open_named(args.device, artifact, options, record=args.record, progress=bar)


def read_model(args: argparse.Namespace) -> "Model":
    """The model that the flags name, of a file, a build or the hub, for the device that they name.

    Raises
    ------
    InputError
        If there is none, or something is wrong with the flags of :func:`add_device`.
    """
    from lightmamba.cli.hub import quantized_file
    from lightmamba.common.errors import InputError
    from lightmamba.text.model import Model

    check_device_flags(args)
    if not args.file:
        raise InputError("the name of the model is empty; give a quantized file, or bundled")
    file = Path(quantized_file(args.file, args.threads, args.device))
    return Model.read(file, args.device, threads=args.threads, name=args.file)


def open_decoder(model: "Model", args: argparse.Namespace) -> Any:
    """Runner of a model: the engine, or the device that the flags name, with its build loaded."""
    from lightmamba.text import DeviceDecoder

    if args.device == "engine" or model.artifact is None:
        return model.engine
    return DeviceDecoder(open_device(model.artifact, args), model.quantized)
