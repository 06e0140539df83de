"""Load the bitstream of a package onto a board on this computer, with openFPGALoader."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.package.contents import MAP
from lightmamba.device.package.design import KERNEL

__all__ = ["bitstream_of", "program"]

LOADER = "openFPGALoader"
BOARDS = {"ulx3s": "ulx3s"}  # of packages, to their names in openFPGALoader
LIMIT_S = 600.0  # the flash takes less than two minutes


def bitstream_of(folder: Path) -> tuple[Path, str]:
    """The bitstream that was built in a package, and the board's name in openFPGALoader.

    Raises
    ------
    InputError
        If the folder is no package, is for a board of another kind, or has no bitstream.
    """
    if not (folder / MAP).is_file():
        raise InputError(
            f"{folder} is no package; make one with: "
            f"lightmamba package BUILD --board ulx3s -o {folder}"
        )
    try:
        board = json.loads((folder / MAP).read_text(encoding="utf-8"))["board"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / MAP} is damaged; copy the package again") from error
    if board not in BOARDS:
        raise InputError(
            f"{folder} is for {board}, and {LOADER} loads {', '.join(BOARDS)} only; "
            f"follow {folder / 'README.md'}"
        )
    file = folder / f"{KERNEL}.bit"
    if not file.is_file():
        raise InputError(f"{folder} has no {file.name} yet; build it with: make -C {folder}")
    return file, BOARDS[board]


def program(folder: Path, *, flash: bool = False) -> Path:
    """Load a bitstream onto the board that is plugged in; the file.

    Parameters
    ----------
    folder
        A package in which ``make`` has run.
    flash
        Write it to the board's flash memory, from which the board starts by itself.

    Raises
    ------
    InputError
        As for :func:`bitstream_of`, or if openFPGALoader is not installed.
    DeviceError
        If openFPGALoader fails, with what it says: there is no board, or no right to use it.
    """
    file, board = bitstream_of(folder)
    loader = shutil.which(LOADER)
    if loader is None:
        raise InputError(
            f"{LOADER} loads the bitstream, and it is not here; install it with: "
            f"apt-get install openfpgaloader"
        )
    command = [loader, "-b", board, *["-f"] * flash, str(file)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{LOADER} was stopped: it took more than {LIMIT_S:.0f} s; unplug the board, and "
            f"try again"
        ) from error
    if done.returncode:
        raise DeviceError(
            f"{LOADER} failed with status {done.returncode}: {_last(done.stderr + done.stdout)}; "
            f"is the board plugged in at its port US1? For the right to use it: "
            f"sudo usermod -a -G plugdev,dialout $USER, then log in again"
        )
    return file


def _last(text: str) -> str:
    """The complaints in what a program said, else its last line, without colors and progress."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in re.split(r"[\r\n]+", plain) if line.strip()]
    wrong = [line for line in lines if re.search("error|fail|unable|not found", line, re.I)]
    return ", ".join(dict.fromkeys(wrong or lines[-1:])) or "no message"
