"""Helpers of all benchmarks: the bundled model, its unseen text, the commit and computer."""

import argparse
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.evaluate import Comparison
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint
from lightmamba.model.config import PUBLISHED
from lightmamba.model.data import austen, demo_checkpoint
from lightmamba.model.tokenizer import Tokenizer

__all__ = [
    "KNOWN", "ROOT", "asked", "bundled", "changed_since", "commit", "encode", "figures", "git",
    "machine", "processor",
]  # fmt: skip

ROOT = Path(__file__).parents[1]
CODE = ("src", "bench/*.py")  # that results depend on

# Shapes that random checkpoints and GGUF files can be made of.
KNOWN = {name: c for name, c in PUBLISHED.items() if not name.startswith("nemotron")}
# What integer kernels are as fast as, the fastest first.
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "avx512bw", "avx2", "i8mm", "asimddp")


def bundled() -> Checkpoint:
    """The bundled checkpoint, afresh."""
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


def git(*words: str) -> str:
    """Output of git in the repository; empty where there is none."""
    found = subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False, errors="replace"
    )
    return found.stdout.strip() if found.returncode == 0 else ""


def commit() -> str:
    """Short hash of the commit at hand, empty outside a repository."""
    return git("rev-parse", "--short=8", "HEAD")


def changed_since(commit: str) -> bool:
    """Whether code in the working tree differs from that of a commit."""
    new = git("ls-files", "--others", "--exclude-standard", "--", *CODE)
    return bool(new or git("diff", "--name-only", commit, "--", *CODE))


def machine() -> str:
    """The processor and what the numbers depend on besides."""
    info = Path("/proc/cpuinfo")
    cpu = processor(info.read_text()) if info.is_file() else None
    cpu = cpu or platform.processor() or platform.machine()
    return f"{cpu}, Python {platform.python_version()}, numpy {np.__version__}"


def processor(cpuinfo: str) -> str | None:
    """How many of which processor, from the text of /proc/cpuinfo; None where it does not say.

    Its entries are hardware threads, and in a virtual machine a share of those: no sockets.
    """
    pairs = [line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line]
    found = [(key.strip(), value.strip()) for key, value in pairs]
    names = [value for key, value in found if key == "model name"]
    if not names:
        return None
    flags = next((value.split() for key, value in found if key in ("flags", "Features")), [])
    unit = "vCPU" if "hypervisor" in flags else "hardware thread"
    widest = next((f" with {name}" for name in INSTRUCTIONS if name in flags), "")
    return f"{len(names)} {unit}{'s' if len(names) > 1 else ''}, {names[0]}{widest}"


def asked(doc: str | None, rows: Iterable[str], **options: Mapping[str, Any]) -> argparse.Namespace:
    """Command line of a benchmark, whose ``row`` are names of its rows, or all.

    A name selects the row of that name, or else all rows whose names begin with it.

    Parameters
    ----------
    doc, rows
        Of the benchmark.
    **options
        Further options, as :meth:`argparse.ArgumentParser.add_argument` takes them.
    """
    parser, known = argparse.ArgumentParser(description=(doc or "").partition("\n")[0]), list(rows)
    parser.add_argument("row", nargs="*", help=f"beginning of (all): {'; '.join(known)}")
    for name, how in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    args = parser.parse_args()
    found: dict[str, None] = {}
    for name in args.row:
        mine = [name] if name in known else [each for each in known if each.startswith(name)]
        if not mine:
            parser.error(f"there is no row {name}; there are: {'; '.join(known)}")
        found |= dict.fromkeys(mine)
    args.row = list(found) or known
    return args
