"""Update the golden scripts and hashes of packages: python -m tests.package.golden."""

import json
import tempfile
from pathlib import Path

from .boards import BOARDS, packaged
from .test_package import GOLDEN, stable
from .test_scripts import SCRIPTS, golden

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = {board: packaged(Path(folder), board).path for board in BOARDS}
        GOLDEN.write_text(json.dumps({b: stable(at) for b, at in made.items()}, indent=1) + "\n")
        for board, name in SCRIPTS:
            golden(board, name).parent.mkdir(parents=True, exist_ok=True)
            golden(board, name).write_bytes((made[board] / name).read_bytes())
