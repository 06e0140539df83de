"""Run the notebooks of the docs and store their outputs: ``python -m bench.notebooks``."""

from typing import Any

import nbformat
from nbclient import NotebookClient

from bench.stored import RESULTS

__all__ = ["FOLDER", "stored"]

FOLDER = RESULTS.parent.parent / "docs/notebooks"


def stored(notebook: Any) -> Any:
    """A run notebook without what differs from run to run: times, warnings, versions."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
        nbformat.write(stored(notebook), path)
        print(path.relative_to(FOLDER.parents[1]))


if __name__ == "__main__":
    main()
