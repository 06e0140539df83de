"""Tiny random checkpoints and the files made from them, once for all tests of the command line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from lightmamba.cli import main
from lightmamba.hardware import compiler
from lightmamba.model.qmodel import load
from tests.cli.cases import Said, say
from tests.sim.machines import CONFIG, TARGET, compiled
from tests.support.builders import made_up, random_model, sizes, write_text, write_tokenizer
from tests.support.checkpoints import WORDED, write_state_spaces, write_transformers

PLAIN = sizes(
    d_model=192,
    vocab_size=300,
    d_state=32,
    headdim=48,
    ngroups=2,
    chunk_size=16,
    tie_embeddings=False,
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
    build
        A build of ``worded``, without Verilog.
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
    build: Path
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
    made = World(
        root=root,
        plain=root / "plain",
        plain_file=root / "plain.safetensors",
        worded=root / "worded",
        worded_file=root / "worded.safetensors",
        build=root / "build",
        ids=write_ids(root / "ids.txt", 1, 700),
        text=write_text(root / "text.txt", 20),
        calibration=write_ids(root / "calibration.txt", 2, 4096),
    )
    few = ("--sequences", "8", "--threads", "1", "--json")
    for arguments in (
        (made.plain, "-o", made.plain_file, "--recipe", "w8a8", "--calibration-ids",
         made.calibration, "--seqlen", "256"),
        (made.worded, "-o", made.worded_file, "--seqlen", "128"),
    ):  # fmt: skip
        assert main(["quantize", *map(str, arguments), *few]) == 0
    compiler.build(load(made.worded_file), made_up(), made.build, source=made.worded_file)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line."""

    def call(*arguments: object) -> Said:
        return say(capsys, *arguments)

    return call


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of hardware whose simulator all tests of the project share."""
    return compiled(tmp_path_factory.mktemp("builds"), CONFIG, TARGET)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the same hardware for a model that has a tokenizer."""
    folder = tmp_path_factory.mktemp("spoken")
    data = write_tokenizer(folder / "tokenizer.json", 50).read_bytes()
    return compiled(folder, CONFIG, TARGET, model=replace(random_model(CONFIG), tokenizer=data))
