"""Tiny random checkpoints and the files made from them, once for all tests of the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lightmamba.cli import main
from lightmamba.model.config import mamba2_config
from tests.cli.cases import Said, say
from tests.support.checkpoints import write_state_spaces, write_transformers

PLAIN = mamba2_config(
    d_model=192, n_layer=2, vocab_size=300, d_state=32, headdim=48, ngroups=2, chunk_size=16,
    tie_embeddings=False,
)  # fmt: skip
WORDED = mamba2_config(
    d_model=64, n_layer=2, vocab_size=264, d_state=16, headdim=32, chunk_size=16,
    tie_embeddings=False,
)  # fmt: skip
SENTENCES = (
    "It was a dark and stormy night.",
    "The rain fell in torrents, except at occasional intervals.",
    "A violent gust of wind swept up the streets.",
)


@dataclass(frozen=True)
class World:
    """Where everything lies.

    Parameters
    ----------
    plain, plain_file
        Saved by transformers, two norm groups, untied, without a tokenizer; quantized by w8a8.
    worded, worded_file
        With a tokenizer of 261 single characters and words, 264 rows; quantized by w4a4.
    ids, text
        To evaluate on; nothing was calibrated on them.
    calibration
        Ids of ``plain``.
    """

    root: Path
    plain: Path
    plain_file: Path
    worded: Path
    worded_file: Path
    ids: Path
    text: Path
    calibration: Path


def write_ids(path: Path, seed: int, count: int, vocab: int = 300) -> Path:
    ids = np.random.default_rng(seed).integers(0, vocab, count)
    path.write_text(" ".join(map(str, ids)))
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    write_transformers(root / "plain", PLAIN)
    write_state_spaces(root / "worded", WORDED, tokenizer=True)
    words = np.random.default_rng(3).permutation(np.repeat(SENTENCES, 20))
    (root / "text.txt").write_text(" ".join(words))
    made = World(
        root=root,
        plain=root / "plain",
        plain_file=root / "plain.safetensors",
        worded=root / "worded",
        worded_file=root / "worded.safetensors",
        ids=write_ids(root / "ids.txt", 1, 700),
        text=root / "text.txt",
        calibration=write_ids(root / "calibration.txt", 2, 4096),
    )
    few = ("--sequences", "8", "--threads", "1", "--json")
    for arguments in (
        (made.plain, "-o", made.plain_file, "--recipe", "w8a8", "--calibration-ids",
         made.calibration, "--seqlen", "256"),
        (made.worded, "-o", made.worded_file, "--seqlen", "128"),
    ):  # fmt: skip
        assert main(["quantize", *map(str, arguments), *few]) == 0
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line."""

    def call(*arguments: object) -> Said:
        return say(capsys, *arguments)

    return call
