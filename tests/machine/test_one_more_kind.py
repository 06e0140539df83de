"""A kind of layers is added by its folder and the RTL of its unit: docs/howto/add-a-block.md."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.rtl.test_top import PRINT

pytestmark = pytest.mark.slow  # a simulator of its own
CASES = Path(__file__).with_name("of_lookup.py")
FILES, PAGE = ROOT / "docs/howto/lookup", ROOT / "docs/howto/add-a-block.md"
NAMES = re.findall(r"^def (test_\w+)", CASES.read_text(encoding="utf-8"), re.MULTILINE)
SLOW = "test_passes_of_several_tokens"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with one more kind: four new files, and no line of another one changed."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "lightmamba"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/lightmamba", package, ignore=ignored)
    shutil.copytree(FILES, package / "blocks/lookup", ignore=shutil.ignore_patterns("unit.py"))
    shutil.copy(FILES / "unit.py", package / "hardware/rtl/lookup.py")
    return folder


def run(package: Path, *command: str, folder: Path = ROOT) -> str:
    """Output of a Python that takes the project from a folder; both streams."""
    paths = os.pathsep.join([str(package), str(ROOT)])
    found = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": paths},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return found.stdout


@pytest.fixture(scope="module")
def results(copy):
    """All cases at once: they share a simulator, which takes most of the time."""
    how = ("-q", "-rA", "-p", "no:randomly", "-p", "no:xdist", "-m", "not slow")
    return run(copy, "-m", "pytest", str(CASES), *how)


@pytest.mark.board
@pytest.mark.parametrize("name", [name for name in NAMES if name != SLOW])
def test_in_a_copy_of_the_project(results, name):
    lines = [line for line in results.splitlines() if re.search(rf"::{name}(\[|$| )", line)]
    assert lines, results
    assert all(line.startswith("PASSED") for line in lines), results


def test_in_a_copy_of_the_project_with_four_tokens_a_pass(copy):
    found = run(copy, "-m", "pytest", str(CASES), "-q", "-rA", "-k", SLOW)
    assert re.search(rf"^PASSED .*::{SLOW}$", found, re.MULTILINE), found


@pytest.mark.board
def test_the_example_of_the_page_runs(copy, tmp_path):
    (example,) = (b.text for b in blocks(PAGE) if b.kind.startswith("python"))
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    assert run(copy, str(script), folder=tmp_path).splitlines()[-1:] == ["True"]


@pytest.mark.board
def test_hardware_without_it_is_the_same(copy):
    assert run(copy, "-c", PRINT) == run(ROOT / "src", "-c", PRINT)
