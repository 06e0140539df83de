"""Write the golden hashes of packages anew: python -m tests.package.golden."""

import json
import tempfile
from pathlib import Path

from .boards import BOARDS, packaged
from .test_package import GOLDEN, stable

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {board: stable(packaged(Path(folder), board).path) for board in BOARDS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
