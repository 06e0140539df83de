"""A tiny random checkpoint with a tokenizer, a text and a task, once for all tests of sweeps."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lightmamba.model.config import mamba2_config
from lightmamba.study.sweep import Plan
from tests.support.checkpoints import write_state_spaces
from tests.sweep.cases import plan_of

CONFIG = mamba2_config(
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
    """Where everything lies, and a plan over it: six cells, two files."""

    root: Path
    plan: Plan


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("sweep")
    write_state_spaces(root / "tiny", CONFIG, tokenizer=True)
    words = np.random.default_rng(3).permutation(np.repeat(SENTENCES, 12))
    (root / "text.txt").write_text(" ".join(words))
    rows = [
        {"query": "The sky is", "choices": ["blue", "made of tin"], "gold": gold}
        for gold in (0, 1, 0)
    ]
    (root / "choices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return World(root, plan_of(root))
