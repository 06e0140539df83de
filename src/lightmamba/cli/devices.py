"""The model, the device and the sampling that flags name."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightmamba.cli.hub import quantized_file
from lightmamba.cli.options import at_least
from lightmamba.cli.show import progress, working
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.device.host.device import Device
from lightmamba.device.host.devices import check_device, open_named, parse_options
from lightmamba.engine.engine import PIECE
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import Context, DeviceDecoder, Drafter, Step
from lightmamba.text.continuation import StopMatcher, room_after
from lightmamba.text.defaults import OPTIONS, sampling_options
from lightmamba.text.model import Model

__all__ = ["check_device_flags", "first_step", "open_decoder", "open_device", "open_writer"]
__all__ += ["read_model", "sampling_of"]

SIMULATED = ("sim", "ulx3s-sim")  # what is slow about them is to build the simulator


def check_device_flags(args: argparse.Namespace) -> None:
    """Refuse a device that is not there, and flags of a device without one.

    Raises
    ------
    InputError
        If something is wrong with the flags of a device.
    """
    check_device(args.device)
    parse_options(args.device_option)
    given = {"--device-option": args.device_option, "--record": args.record}
    for flag, value in given.items():
        if value and args.device == "engine":
            raise InputError(f"{flag} is for a device; give --device sim, uio, ulx3s or xrt too")
    if args.force and args.record is None:
        raise InputError("--force replaces a recording; give --record FILE too")


def open_device(artifact: Artifact, args: argparse.Namespace) -> Device:
    """The device that the flags name, with the build loaded.

    Raises
    ------
    InputError
        If there is none of that name, it is not for this build, or the file of ``--record`` exists.
    """
    options = parse_options(args.device_option)
    if args.record is not None:
        check_output(args.record, force=args.force)
    if args.device in SIMULATED:
        with working("building the simulator (a minute or two, the first time)"):
            return open_named(args.device, artifact, options, record=args.record)
    with progress(f"opening device {args.device}") as bar:
        return open_named(args.device, artifact, options, record=args.record, progress=bar)


def read_model(args: argparse.Namespace) -> Model:
    """The model that the flags name, of a file, a build or the hub, for the device that they name.

    Raises
    ------
    InputError
        If there is none, or something is wrong with the flags of a device.
    """
    check_device_flags(args)
    if not args.file:
        raise InputError("the name of the model is empty; give a quantized file, or bundled")
    file = Path(quantized_file(args.file, args.threads, args.device))
    return Model.read(file, args.device, threads=args.threads, name=args.file)


def open_decoder(model: Model, args: argparse.Namespace) -> Any:
    """Runner of a model: the engine, or the device that the flags name, with its build loaded."""
    if args.device == "engine" or model.artifact is None:
        return model.engine
    return DeviceDecoder(open_device(model.artifact, args), model.quantized)


def sampling_of(
    args: argparse.Namespace, generation_config: Any
) -> tuple[SamplingOptions, tuple[str, ...]]:
    """Sampling options of the flags, else of the model; and the names of the model's."""
    given = {name: getattr(args, name) for name in OPTIONS}
    return sampling_options(generation_config, seed=args.seed, **given)


def open_writer(
    args: argparse.Namespace, prompt: Callable[[Model], Any]
) -> tuple[Model, Any, Callable[[], Drafter] | None, Any]:
    """Model, decoder, a maker of drafters, and ids; bad input is refused before a device opens.

    Parameters
    ----------
    args
        Flags of the verb.
    prompt
        Ids of the first prompt, or of one like it.
    """
    at_least(args, max_tokens=(1, 64))
    StopMatcher(args.stop)
    sampling_of(args, {})
    model = read_model(args)
    ids = prompt(model)
    if not len(ids):
        raise InputError("the prompt has no tokens; give at least one, such as 'The'")
    if args.device != "engine" and model.artifact is not None:
        room_after(len(ids), args.max_tokens, model.artifact.arch.context or None)
    drafter = model.drafter(args.speculate, args.device)
    return model, open_decoder(model, args), drafter, ids


def first_step(steps: Iterator[Step], tokens: int, context: Context) -> Step:
    """The first step of a text whose prompt has that many tokens to read; a long one has a bar."""
    if tokens <= PIECE:
        return next(steps)
    try:
        with progress("reading the prompt") as context.progress:
            return next(steps)
    finally:
        context.progress = None
