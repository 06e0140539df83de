"""What every benchmark shares: the bundled model, its unseen text, and results files."""

import json
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.checkpoint import Checkpoint, load_checkpoint
from lightmamba.data import austen, demo_checkpoint
from lightmamba.evaluate import Comparison
from lightmamba.tokenizer import Tokenizer

__all__ = ["RESULTS", "bundled", "commit", "encode", "figures", "write_results"]

RESULTS = Path(__file__).parent / "results"


def bundled() -> Checkpoint:
    """The bundled checkpoint, afresh: quantizing rewrites its model."""
    return load_checkpoint(demo_checkpoint())


def encode(part: int, characters: int | None = None) -> tuple[NDArray[np.int64], int]:
    """Ids and bytes of a part of the novels: 0 training, 1 validation, 2 held out."""
    data = bundled().tokenizer
    assert data is not None
    text = austen()[part][:characters]
    return Tokenizer.from_bytes(data).encode(text), len(text.encode())


def figures(found: Comparison) -> dict[str, Any]:
    """The numbers of a comparison that a table shows."""
    out: dict[str, Any] = {k: v for k, v in asdict(found).items() if isinstance(v, int | float)}
    out["perplexity"] = found.model.perplexity
    out["standard_error"] = found.model.standard_error
    out["bits_per_byte"] = found.model.bits_per_byte
    out["reference_perplexity"] = found.reference.perplexity
    out["tokens"] = found.model.tokens
    return out


def commit() -> str:
    """Short hash of the commit at hand."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def write_results(name: str, command: str, results: Any, folder: Path = RESULTS) -> None:
    """Write ``results`` with the machine, the date and the commit that made them."""
    folder.mkdir(exist_ok=True)
    record = {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": _machine(),
        "results": results,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = f"{len(names)} x {names[0]}" if names else cpu
    return f"{cpu}, Python {platform.python_version()}, numpy {np.__version__}"
