"""Commands that are killed, or meet a full disk, at each write: started again they end as ever."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lightmamba.cli import main
from lightmamba.common.store import read_store
from tests.crash.disk import MEMORY, Mode, on_failing_disk
from tests.crash.verbs import VERBS, Verb, run_verb
from tests.support.builders import write_text
from tests.support.checkpoints import WORDED, write_state_spaces

pytestmark = pytest.mark.slow  # a second for each operation
MOST = int(os.environ.get("LIGHTMAMBA_CRASH_MOST", "200"))  # operations of a command that may fail
PLAN = """
models = ["worded"]
recipes = ["w8a8", "rtn-w4a8"]
texts = ["text.txt"]
targets = ["tiny"]
[calibration]
sequences = 2
seqlen = 32
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A checkpoint, its quantized file, a build of it, a text, and a plan for a sweep."""
    root = tmp_path_factory.mktemp("world")
    write_state_spaces(root / "worded", WORDED, tokenizer=True)
    write_text(root / "text.txt", 4)
    (root / "plan.toml").write_text(PLAN)
    file = root / "worded.safetensors"
    for words in (
        f"quantize {root / 'worded'} -o {file} --sequences 2 --seqlen 32",
        f"compile {file} --target ulx3s -o {root / 'ulx3s'}",
    ):
        assert main([*words.split(), "--quiet"]) == 0
    return root


@pytest.fixture
def out():
    """A folder to write to."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def content(path: Path) -> object:
    """Bytes of a file; of a store of results what was found, without when and how fast."""
    if path.suffix != ".jsonl":
        return path.read_bytes()
    return {record.key: record.values for record in read_store(path)}


def made(verb: Verb, out: Path) -> dict[str, object]:
    """Content of the files that a command makes and that are there."""
    found = (path for path in out.glob(verb.files) if path.is_file())
    return {str(path.relative_to(out)): content(path) for path in found}


def assert_said(said: tuple[int, str]) -> None:
    """Fail unless a command went well all the same, or said in one line that the disk is full."""
    status, errors = said
    if status:
        assert (status, errors.count("\n")) == (2, 1), errors
        assert "No space left on device" in errors or "the disk is full" in errors


@pytest.mark.parametrize("mode", [Mode.KILL, Mode.FULL], ids=["kill", "full"])
@pytest.mark.parametrize("name", VERBS)
def test_a_failure_at_each_operation(world, out, name, mode):
    verb = VERBS[name]
    words = verb.words.format(world=world, out=out).split()
    assert on_failing_disk(out, 0, mode, run_verb, words).said == [(0, "")]
    wanted = made(verb, out)
    assert wanted
    for n in range(1, MOST + 1):
        shutil.rmtree(out)
        out.mkdir()
        outcome = on_failing_disk(out, n, mode, run_verb, words)
        if not outcome.failed:
            assert made(verb, out) == wanted
            assert n > 4
            return
        if not outcome.ended:
            assert_said(*outcome.said)
        for path, value in made(verb, out).items():  # a file that has its name is whole
            assert path.endswith(".jsonl") or value == wanted[path], (n, path)
        if made(verb, out) != wanted:
            assert on_failing_disk(out, 0, mode, run_verb, words).said == [(0, "")], n
        assert made(verb, out) == wanted, n
