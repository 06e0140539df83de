"""External programs: how they are found and run, and where their results are cached."""

import atexit
import contextlib
import functools
import logging
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from platformdirs import user_cache_path

from lightmamba.common.errors import InputError

__all__ = ["cache_folder", "drop_unused", "is_cached", "run"]

log = logging.getLogger(__name__)
KEPT_S = 30 * 24 * 3600  # from the last use of something in a cache


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit_s: float | None = None,
) -> str:
    """Run a program, in ``folder`` if one is given, and return what it printed.

    Raises
    ------
    InputError
        If it fails: its first complaint, on one line. If it takes more than ``limit_s`` seconds of
        processor time, which a busy computer does not use up (on Linux only).
    """
    start, name = time.perf_counter(), Path(command[0]).name
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env=None if environment is None else {**os.environ, **environment},
    ) as process:
        if limit_s is not None and hasattr(resource, "prlimit"):
            limits = math.ceil(limit_s), math.ceil(limit_s) + 1
            with contextlib.suppress(ProcessLookupError):  # it has ended
                resource.prlimit(process.pid, resource.RLIMIT_CPU, limits)
        printed, complaint = process.communicate()
    log.info("%s took %.2f s", command[0], time.perf_counter() - start)
    if process.returncode == -signal.SIGXCPU:
        raise InputError(
            f"{name} was stopped: it took more than {limit_s:,.0f} s of processor time"
        )
    if process.returncode < 0:
        raise InputError(
            f"{name} was killed by signal {-process.returncode}, as a system does "
            f"that runs out of memory; free some, and try again"
        )
    if process.returncode:
        lines = (complaint + printed).splitlines()
        said = next(
            (line for line in lines if "error" in line.lower()), lines[0] if lines else "no message"
        )
        raise InputError(f"{name} failed with status {process.returncode}: {said.strip()}")
    return printed


def cache_folder(name: str, cache: Path | None = None) -> Path:
    """Folder of what was made once: given, ``name`` in the user's cache, or a temporary one."""
    folder = cache or user_cache_path("lightmamba", appauthor=False) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if cache is not None:
            raise InputError(f"cannot make the cache folder {cache}: {error.strerror}") from error
        return _temporary(name)
    return folder if os.access(folder, os.W_OK) else _temporary(name)


def is_cached(path: Path) -> bool:
    """Whether a file or folder is in a cache; notes that it is used now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's, whose it is to note
        return path.exists()
    return True


def drop_unused(cache: Path, own: str) -> None:
    """Remove what lies in a cache and was not used for a month.

    Parameters
    ----------
    cache : Path
        A folder, perhaps one that the user chose and that holds other files.
    own : str
        Regular expression of the names that may be removed.
    """
    with contextlib.suppress(OSError):  # another process may do the same
        for entry in cache.iterdir():
            used = time.time() - entry.stat().st_mtime <= KEPT_S
            if used or not re.fullmatch(own, entry.name):
                continue
            log.info("not used for a month, removed: %s", entry)
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


@functools.cache
def _temporary(name: str) -> Path:
    """A folder for as long as this process lives, one per name."""
    folder = Path(tempfile.mkdtemp(prefix=f"lightmamba-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
