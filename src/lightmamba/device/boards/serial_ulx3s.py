"""The ULX3S of Radiona (LFE5U-85F, 32 MB of SDRAM) on its USB port."""

from contextlib import ExitStack

from lightmamba.common.errors import InputError
from lightmamba.device.boards.serial_device import SerialDevice
from lightmamba.device.boards.serial_link import RATES, SerialLink
from lightmamba.device.boards.serial_port import open_port
from lightmamba.hardware.machine.artifact import Artifact, build_hash
from lightmamba.hardware.machine.serial import BOARDS, DEFAULT_BAUD

__all__ = ["check_board", "open_ulx3s"]


def check_board(link: SerialLink, artifact: Artifact) -> None:
    """Refuse a board that a build cannot run on.

    Raises
    ------
    InputError
        If it has another bitstream, or too little memory.
    """
    identity, wanted = link.identity, build_hash(artifact.arch)
    board = BOARDS.get(identity.board, f"board {identity.board}")
    if identity.build != wanted:
        raise InputError(
            f"{artifact.path} is for hardware with hash {wanted:08x}, but the {board} on "
            f"{link.name} has the bitstream of {identity.build:08x}; load the bitstream of this "
            f"build, or give the build that was made with it"
        )
    need, there = sum(size for size, _ in artifact.extents().values()), 1 << identity.memory_log2
    if need > there:
        raise InputError(
            f"{artifact.path} needs {need:,} bytes of memory, but the {board} on {link.name} has "
            f"{there:,}; compile a model with at most {there / need:.0%} of its weights"
        )


def open_ulx3s(
    artifact: Artifact,
    *,
    port: str,
    baud: int = RATES[0],
    seconds: float = 30.0,
    fresh: int = 0,
    scan: int = 0,
) -> SerialDevice:
    """Open the board on a serial port.

    Parameters
    ----------
    artifact
        The build.
    port
        Name of the port, such as /dev/ttyUSB0.
    baud
        Highest rate; a lower one is taken where it makes errors.
    seconds
        Longest time that a start may take.
    fresh
        1: load the weights even if the board has them from an earlier run.
    scan
        1: search for the best phase of the memory's clock, even if memory works as it is.

    Raises
    ------
    DeviceError
        If nothing answers, or something else.
    InputError
        If there is no such port, a value is out of range, or the board is not for this build.
    """
    highest = int(baud)
    if not DEFAULT_BAUD <= highest <= RATES[0]:
        raise InputError(f"baud must be {DEFAULT_BAUD} to {RATES[0]}, not {baud}")
    with ExitStack() as opened:
        line = open_port(port, DEFAULT_BAUD)
        opened.callback(line.close)
        link = SerialLink(line, name=port, baud=highest)
        check_board(link, artifact)
        device = SerialDevice(
            link, seconds=float(seconds), fresh=bool(int(fresh)), scan=bool(int(scan))
        )
        opened.pop_all()
    return device
