"""A disk that fails at the n-th operation: functions run on it in processes of their own."""

import ctypes
import functools
import hashlib
import importlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

from lightmamba.common.files import replace_file
from lightmamba.device.sim.tools import find_compiler

__all__ = ["MEMORY", "Mode", "Outcome", "on_failing_disk"]

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where to sync takes no time

SOURCE = Path(__file__).with_name("disk.c")
# Statuses of a process: the disk ended it, it raised, it had fewer operations than n.
ENDED, RAISED, UNHURT = 86, 87, 88


class Mode(IntEnum):
    """Failure at the n-th operation."""

    KILL = 0  # the process ends
    LOSE = 1  # power fails, then or at the end: what was not synced is gone
    FULL = 2  # the disk is full from then on


@dataclass(frozen=True)
class Outcome:
    """How a function ended.

    Parameters
    ----------
    ended
        Whether the disk ended its process.
    said
        All that it said before.
    failed
        Whether it came to the n-th operation.
    """

    ended: bool
    said: list[Any]
    failed: bool = True


def on_failing_disk(
    folder: Path, n: int, mode: Mode, function: Callable[..., object], *given: object
) -> Outcome:
    """Run a function in a process whose n-th operation on a file of ``folder`` fails.

    The function is one of a module; its first argument is called with what it has to say, which
    arrives even if the process ends in its next statement. With ``n`` = 0 nothing fails.

    Raises
    ------
    AssertionError
        If it raises.
    """
    process = _server()
    assert process.stdin is not None
    assert process.stdout is not None
    job = (str(folder), n, int(mode), function.__module__, function.__name__, given)
    pickle.dump(job, process.stdin)
    process.stdin.flush()
    said = list[Any]()
    while True:
        kind, value = pickle.load(process.stdout)
        if kind == "said":
            said.append(value)
        elif kind == "raised":
            raise AssertionError(value)
        else:
            assert value in (0, ENDED, UNHURT)
            return Outcome(value == ENDED, said, value != UNHURT)


@functools.cache
def _server() -> "subprocess.Popen[bytes]":
    """A process that has the library loaded, and forks another one for each function."""
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:20]
    library = Path(os.environ["XDG_CACHE_HOME"]) / f"disk-{key}.so"
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        aside = library.with_suffix(f".{os.getpid()}.tmp")
        command = [find_compiler().program, "-x", "c", "-O1", "-shared", "-fPIC", "-o", str(aside)]
        subprocess.run([*command, str(SOURCE), "-ldl"], check=True)
        replace_file(aside, library)
    return subprocess.Popen(
        [sys.executable, "-m", __name__], env={**os.environ, "LD_PRELOAD": str(library)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def _serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Run functions, one after the other, until there are no more.

    What the module's function ``prepare`` imports, if it has one, is there in all of its processes.
    """

    def say(kind: str, value: object) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    while True:
        try:
            folder, n, mode, module, name, given = pickle.load(jobs)
        except EOFError:
            return
        found = importlib.import_module(module)
        getattr(found, "prepare", bool)()
        function = getattr(found, name)
        if (child := os.fork()) == 0:
            disk = ctypes.CDLL(None)
            disk.disk_arm(folder.encode(), ctypes.c_long(n), mode)
            try:
                function(functools.partial(say, "said"), *given)
            except BaseException:
                say("raised", traceback.format_exc())
                os._exit(RAISED)
            disk.disk_end()
            os._exit(0 if disk.disk_failed() else UNHURT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != RAISED:
            say("ended", status)


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what functions print is no answer
    _serve(sys.stdin.buffer, pipe)
    os._exit(0)  # libraries have their say at an ordinary end
