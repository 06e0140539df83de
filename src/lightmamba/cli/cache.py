"""``lightmamba cache``."""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]

# Folders of the user's cache, and what is in them.
PARTS = {
    "simulators": "compiled simulators of accelerators",
    "kernels": "compiled loops of estimates",
    "synthesis": "modules that yosys has mapped",
    "quantized": "models of the hub, quantized",
    "checked": "marks of files whose hash was right",
}
DAY = 24 * 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clear", action="append", choices=("all", *PARTS), metavar="PART",
        help=f"remove a part: {', '.join(PARTS)}, or all; repeatable",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from platformdirs import user_cache_path

    from lightmamba.cli.show import note, table

    folder = user_cache_path("lightmamba", appauthor=False)
    cleared = set(PARTS) if "all" in (args.clear or ()) else set(args.clear or ())
    freed = 0
    for name in sorted(cleared):
        freed += _size(folder / name)[0]
        shutil.rmtree(folder / name, ignore_errors=True)
    rows, parts = [], {}
    for name, what in PARTS.items():
        size, used = _size(folder / name)
        parts[name] = {"bytes": size, "last_used": used}
        days = "-" if used is None else f"{(time.time() - used) / DAY:.0f} days ago"
        rows.append((name, f"{size / 1e6:,.0f} MB", days, what))
    if not args.json:
        table(str(folder), ("part", "size", "last used", "what"), rows)
        if cleared:
            note(f"{freed / 1e6:,.0f} MB removed")
        else:
            note(
                "remove all of it with --clear all; simulators unused for a month go by themselves"
            )
    return {"folder": str(folder), "parts": parts, "freed_bytes": freed}


def _size(folder: Path) -> tuple[int, float | None]:
    """Bytes of a folder's files, and when one of them was used last."""
    size, used = 0, None
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:  # another process removed it
            continue
        size += found.st_size if path.is_file() else 0
        used = max(used or 0.0, found.st_mtime)
    return size, used
