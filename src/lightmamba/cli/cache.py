"""``lightmamba cache``."""

import argparse
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from lightmamba.cli.arguments import CACHED
from lightmamba.cli.show import detail, table

__all__ = ["run"]

DAY = 24 * 3600


def run(args: argparse.Namespace) -> dict[str, Any]:
    folder = user_cache_path("lightmamba", appauthor=False)
    cleared = set(CACHED) if "all" in (args.clear or ()) else set(args.clear or ())
    freed = 0
    for name in sorted(cleared):
        freed += _size(folder / name)[0]
        shutil.rmtree(folder / name, ignore_errors=True)
        freed -= _size(folder / name)[0]  # of another user, say
    rows, parts = [], {}
    for name, what in CACHED.items():
        size, used = _size(folder / name)
        parts[name] = {"bytes": size, "last_used": used}
        days = "-" if used is None else _ago(time.time() - used)
        rows.append((name, f"{size / 1e6:,.0f} MB", days, what))
    table(str(folder), ("part", "size", "last used", "what"), rows)
    if cleared:
        detail(f"{freed / 1e6:,.0f} MB removed")
    else:
        detail("--clear all removes all of it; simulators unused for a month go automatically")
    return {"folder": str(folder), "parts": parts, "freed_bytes": freed}


def _ago(seconds: float) -> str:
    days = int(seconds / DAY)
    return "today" if days < 1 else "1 day ago" if days == 1 else f"{days} days ago"


def _size(folder: Path) -> tuple[int, float | None]:
    """Bytes of a folder's files, and when one of them was used last."""
    size, used = 0, None
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # another process may remove it
                found = Path(place, name).lstat()
                size += found.st_size if stat.S_ISREG(found.st_mode) else 0
                used = max(used or 0.0, found.st_mtime)
    return size, used
