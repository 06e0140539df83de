"""The notebooks run, and what is stored in them is small and tells nothing of a computer."""

import json
import re

import pytest

from tests.docs.pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
LIMIT = 200_000  # bytes of a notebook, outputs included
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_two():
    assert len(NOTEBOOKS) == 2


@notebooks
def test_what_is_stored_is_clean(path):
    """Every cell of code has run without error, and its outputs name no folder of a computer."""
    assert path.stat().st_size < LIMIT
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(output))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's own packages
@notebooks
def test_it_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=place).execute()
