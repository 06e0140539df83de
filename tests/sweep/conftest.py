"""A tiny random checkpoint with a tokenizer, a text and a task, once for all tests of sweeps."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lightmamba.study.sweep import Plan
from tests.support.builders import write_choices, write_text
from tests.support.checkpoints import WORDED, write_state_spaces
from tests.sweep.cases import plan_of


@dataclass(frozen=True)
class World:
    """Where everything lies, and a plan over it: six cells, two files."""

    root: Path
    plan: Plan


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("sweep")
    write_state_spaces(root / "tiny", WORDED, tokenizer=True)
    write_text(root / "text.txt", 12)
    write_choices(root / "choices.jsonl")
    return World(root, plan_of(root))
