"""A long fuzz, by hand: ``make fuzz ARGS="--seed 7 --count 100000"``.

Mutants of model files, builds, targets, recipes, checkpoints and chat templates are opened; each
must load, or be refused in one sentence. Of a model file that loads, the kernels and numpy write
the same logits. What breaks that is kept, with the numbers that make it again, and ends the run
with 1. Requests are made from the server's OpenAPI description (``tests/serve/test_schema.py``),
right and wrong ones: none may end in a status or a body that the description does not have.
Hypothesis draws these, whatever the seed, and prints the one that breaks it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from rich.progress import track

from tests.fuzz.subjects import SUBJECTS, attempt, mutant

REQUESTS = "requests"  # a kind


def main() -> int:
    """Run it; the number of kinds of failures that were found, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kind", nargs="*", choices=[[], *SUBJECTS, REQUESTS], help="(all)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="(the time)")
    parser.add_argument("--first", type=int, default=0, help="index of the first mutant (0)")
    parser.add_argument("--count", type=int, default=20_000, help="mutants of each kind (20000)")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="(build/fuzz)")
    args = parser.parse_args()
    failures: Counter[str] = Counter()
    for name in args.kind or (*SUBJECTS, REQUESTS):
        if name == REQUESTS:
            failures[name] += _requests(args.count)
            continue
        outcomes: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            subject = SUBJECTS[name](Path(folder))
            indices = range(args.first, args.first + args.count)
            for index in track(indices, f"{name}, seed {args.seed}"):
                mutant(subject, args.seed, index)
                try:
                    outcomes["loads" if attempt(subject) is None else "is refused"] += 1
                except Exception as error:  # any: that is what is looked for
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    kind = f"{name}: {type(error).__name__} at {place.filename}:{place.lineno}"
                    failures[kind] += 1
                    if failures[kind] == 1:
                        _keep(subject.path, args.keep / f"{name}-{args.seed}-{index}")
                        print(f"{kind}: {error}\n  again: --seed {args.seed} --first {index} "
                              f"--count 1 {name}")  # fmt: skip
        print(f"{name}: " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()))
    for kind, count in (+failures).most_common():
        print(f"{count} x {kind}")
    return int(any(failures.values()))


def _requests(count: int) -> int:
    """Whether a test of the server's requests fails, with about ``count`` of them in all."""
    each = os.environ | {"LIGHTMAMBA_REQUESTS": str(count)}
    words = ["-m", "pytest", "-q", "-n", "0", "tests/serve/test_schema.py"]
    return int(subprocess.run([sys.executable, *words], env=each).returncode != 0)


def _keep(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    if path.is_dir():
        shutil.copytree(path, place)
    else:
        shutil.copy(path, place)


if __name__ == "__main__":
    raise SystemExit(main())
