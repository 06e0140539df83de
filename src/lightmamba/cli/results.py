"""Results that a verb adds to a file of records, for ``report``."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from lightmamba.common.store import Record, Store

__all__ = ["check_results", "keep_result"]


def check_results(path: Path | None) -> None:
    """Refuse a file that nothing can be added to, before the work.

    Raises
    ------
    InputError
        If it holds something else, is in use, or cannot be written.
    """
    if path is not None:
        Store(path, "--results").close()


def keep_result(
    path: Path | None, kind: str, of: Mapping[str, Any], values: Mapping[str, Any], how: str
) -> None:
    """Add a result to a file, if one is given; one of the same is replaced.

    Parameters
    ----------
    path
        As ``--results`` gives it.
    kind
        "simulation", "synthesis" or "accuracy".
    of
        All that the result depends on, by what people call it.
    values, how
        As a :class:`~lightmamba.common.store.Record` has them.
    """
    if path is None:
        return
    text = json.dumps(dict(of), sort_keys=True, default=str)
    key = f"{kind} {sha256(text.encode()).hexdigest()[:12]}"
    made = {"version": metadata.version("lightmamba"), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    what = {"kind": kind} | {name: value for name, value in of.items() if isinstance(value, str)}
    with Store(path, "--results", wait=True) as store:
        store.add(Record(key, dict(values), what, how, made))
