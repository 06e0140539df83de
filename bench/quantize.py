"""Time and peak memory of quantizing random checkpoints of the published shapes.

    python -m bench.quantize                                   # 130m and 370m, 16,384 tokens
    python -m bench.quantize --shapes mamba2-2.7b --folder /big/disk
    python -m bench.quantize --shapes mamba2-130m --sequences 160

Each run is a process of its own, ``lightmamba quantize`` as a user starts it, so that its peak is
its own. Calibration ids are random: what they say costs what a text costs. A run that was killed is
gone on with from its journal, and then counts the time of what was left.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.checkpoints import make_checkpoint
from bench.common import KNOWN
from bench.stored import keep
from lightmamba.numerics.model_formats import Formats

SEQLEN = 512


def measure(shape: str, sequences: int, recipe: str, threads: int, folder: Path) -> dict[str, Any]:
    """Make the checkpoint if it is not there, quantize it, and say what that took."""
    config, place = KNOWN[shape], folder / shape
    if not (place / "config.json").exists():
        make_checkpoint(config, place)
    ids = np.random.default_rng(0).integers(0, 50277, sequences * SEQLEN)
    (file := folder / "ids.txt").write_text(" ".join(map(str, ids)), encoding="utf-8")
    output = folder / f"{shape}.safetensors"
    words = [
        sys.executable, "-m", "lightmamba", "quantize", place, "-o", output, "--force", "--json",
        "--calibration-ids", file, "--sequences", sequences, "--seqlen", SEQLEN,
        "--recipe", recipe, "--threads", threads,
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    output.unlink()
    matrices = [m for sizes in config.layers for m in sizes.matrices(config.d_model, Formats())]
    weights = sum(m.rows * m.columns for m in matrices) + config.vocab_size * config.d_model
    return {
        "shape": shape, "recipe": recipe, "tokens": sequences * SEQLEN, "threads": threads,
        "parameters": weights, "seconds": found["seconds"], "resumed": found["resumed"],
        "peak_rss_bytes": found["peak_rss_bytes"], "bytes": found["bytes"],
        "planned_seconds": found["plan"]["seconds"],
        "planned_memory_bytes": found["plan"]["memory_bytes"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="time and memory of quantizing, by shape")
    known = [name for name in KNOWN if name != "demo"]
    parser.add_argument("--shapes", nargs="*", default=known[:2], choices=known)
    parser.add_argument("--sequences", type=int, default=32, help=f"of {SEQLEN} tokens (32)")
    parser.add_argument("--recipe", default="w4a4")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where checkpoints are made and kept")
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for shape in args.shapes:
            keep("quantize", measure(shape, args.sequences, args.recipe, args.threads, folder))


if __name__ == "__main__":
    main()
