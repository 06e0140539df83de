"""Files in the cache: random models of the published shapes, and a program that reads memory."""

import shutil
from dataclasses import replace
from pathlib import Path

from bench.common import KNOWN
from lightmamba.common.errors import InputError
from lightmamba.common.tools import cache_folder, run
from lightmamba.model.config import PUBLISHED, ModelConfig
from lightmamba.model.qmodel import load_sizes, save
from lightmamba.model.qmodel.file import VERSION
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.plan import available_memory

__all__ = ["Bandwidth", "gguf_file", "needed", "our_file"]

MAKING = 3.0  # bytes per weight while a file is made: integers of 8 bits, packed ones, the file
SOURCE = Path(__file__).with_name("bandwidth.c")
PASSES = 6  # over memory, of which the fastest counts


def needed(c: ModelConfig) -> int:
    """Bytes of memory that making our file takes at most: that of a layer, embedding and head."""
    f = Formats()
    layers = [
        sum(each.rows * each.columns for each in sizes.matrices(c.d_model, f)) for sizes in c.layers
    ]
    return round(MAKING * (max(layers) + 2 * c.vocab_size * c.d_model))


def our_file(shape: str, tokenizer: Path | None = None, cache: Path | None = None) -> Path:
    """A quantized file of random weights.

    Parameters
    ----------
    shape
        A key of ``PUBLISHED``.
    tokenizer
        A tokenizer.json to put in, for text; none otherwise.
    cache
        Where files are kept, if not in the user's cache.

    Raises
    ------
    InputError
        If there is too little memory to make it.
    """
    config = PUBLISHED[shape]
    name = f"{shape}-v{VERSION}" + ("-text" if tokenizer else "")
    path = cache_folder("bench", cache) / f"{name}.safetensors"
    if path.is_file() and load_sizes(path)[0] == config:
        return path
    _refuse(shape, needed(config))
    model = random_model(config, lazy=True)
    if tokenizer is not None:
        data = tokenizer.read_bytes()
        model = replace(model, tokenizer=data, valid_vocab=Tokenizer.from_bytes(data).vocab_size)
    save(model, path, force=True)
    return path


def gguf_file(shape: str, cache: Path | None = None) -> Path:
    """Write a shape in Q4_0 for llama.cpp."""
    from bench.engine_gguf import write

    path = cache_folder("bench", cache) / f"{shape}-q4_0.gguf"
    if not path.is_file():
        write(KNOWN[shape], path)
    return path


def _refuse(shape: str, size: int) -> None:
    if (free := available_memory()) < size:
        raise InputError(
            f"a file of {shape} takes {size / 1e9:.1f} GB of memory to make, and "
            f"{free / 1e9:.1f} GB are free; take a smaller shape, such as --shape mamba2-130m"
        )


class Bandwidth:
    """Read bandwidth of this computer, by a C program that is compiled for it.

    Parameters
    ----------
    cache : Path, optional
        Where it is kept.

    Raises
    ------
    InputError
        If there is no C compiler, or it fails.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self.program = cache_folder("bench", cache) / "bandwidth"
        compiler = shutil.which("cc") or "gcc"
        run([compiler, "-O3", "-march=native", "-pthread", str(SOURCE), "-o", str(self.program)])

    def __call__(self, size: int, threads: int) -> float:
        """GB/s of reading ``size`` bytes again and again, the best of some passes."""
        found = run([str(self.program), str(size), str(threads), str(PASSES)])
        return max(float(line) for line in found.split())
