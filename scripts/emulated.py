"""Try a wheel for aarch64 on this computer: a CPython of Debian's packages under qemu.

    python scripts/emulated.py WHEEL [--tokens 100]

The wheel and what it needs are installed into a folder of their own, where the program has to write
the text of the README, and where every instruction set has to give the digests of this computer's
kernels. Needs apt-get, dpkg-deb and qemu-aarch64 (``apt-get install qemu-user``). Speed is that of
the emulation, so it is not measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from release import TEXT, readme_text, run

PACKAGES = ("python3.13-minimal", "libpython3.13-stdlib", "libstdc++6")
LIBRARIES = "/usr/lib/aarch64-linux-gnu"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux2014_aarch64", "manylinux_2_17_aarch64")
# Digests of all observables, by model and instruction set: greedy tokens, and now and then another.
DIGESTS = """
import sys
from hashlib import blake2b
from pathlib import Path
import numpy as np
from lightmamba.engine import Digests, Engine
from lightmamba.model.config import mamba2_config
from lightmamba.model.data import bundled_file
from lightmamba.model.qmodel import load
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.native import usable_isas
from lightmamba.numerics.model_formats import Formats
names = ("bundled", "bundled-hybrid", "bundled-experts")
models = {name: load(Path(bundled_file(name))) for name in names}
models["random-w8a8"] = random_model(mamba2_config(128, 2, 512), Formats(8, 8, head_weight_bits=8))
for name, model in models.items():
    for isa in usable_isas():
        engine, seen, token = Engine(model, isa=isa), Digests(), 1
        state = engine.empty_state(1)
        for n in range(int(sys.argv[1])):
            logits, state = engine.forward(np.array([[token]]), state, observe=seen)
            token = int(logits[0, -1, :256].argmax()) if n % 16 else 16 + n % 97
        text = "".join(f"{key} {value} " for key, value in seen.items())
        print(name, isa, len(seen), blake2b(text.encode(), digest_size=16).hexdigest(), flush=True)
"""


class Emulated:
    """An aarch64 CPython in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.site, self._apt = folder / "root", folder / "site", folder / "apt"
        for each in ("lists/partial", "cache/archives/partial", "home"):
            (self._apt / each).mkdir(parents=True)
        (self._apt / "status").touch()
        self._get("update")
        self._get("install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
        for package in self._apt.glob("cache/archives/*.deb"):
            run("dpkg-deb", "--extract", package, self.root)
        if not (self.root / "lib").exists():
            (self.root / "lib").symlink_to("usr/lib")

    def _get(self, *words: str) -> None:
        """apt-get, of another architecture and without a trace in this system."""
        state = {
            "APT::Architecture": "arm64", "APT::Architectures": "arm64",
            "APT::Sandbox::User": "root", "Dir::State::Lists": self._apt / "lists",
            "Dir::State::status": self._apt / "status", "Dir::Cache": self._apt / "cache",
        }  # fmt: skip
        options = [word for name, value in state.items() for word in ("-o", f"{name}={value}")]
        run("apt-get", "-qq", *options, *words)

    def python(self, *words: object) -> str:
        """Output of the interpreter."""
        given = {
            "LD_LIBRARY_PATH": LIBRARIES, "PYTHONPATH": self.site, "HOME": self._apt / "home",
        }  # fmt: skip
        variables = [word for name, value in given.items() for word in ("-E", f"{name}={value}")]
        return run(
            "qemu-aarch64", "-cpu", "max", "-L", self.root, *variables,
            self.root / "usr/bin/python3.13", *words,
        )  # fmt: skip

    def install(self, wheel: Path) -> None:
        """Install a wheel and what it needs, by a pip of its own."""
        wheels = self._apt / "wheels"
        pip = (sys.executable, "-m", "pip", "download", "-q", "-d", wheels)
        of = [word for name in PLATFORMS for word in ("--platform", name)]
        # The wheel may be for a newer system than the platforms that its needs are chosen by.
        needs = run(sys.executable, "-c", NEEDS, wheel).split("\n")
        run(*pip, "pip", *of, "--only-binary=:all:", "--python-version", "3.13",
             *(each for each in needs if each))  # fmt: skip
        (own,) = wheels.glob("pip-*.whl")
        self.python(own / "pip", "install", "-q", "--root-user-action", "ignore", "--target",
                    self.site, "--no-index", "--find-links", wheels, wheel)  # fmt: skip


NEEDS = """
import sys
from email import message_from_string
from zipfile import ZipFile
with ZipFile(sys.argv[1]) as archive:
    (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
    found = message_from_string(archive.read(name).decode()).get_all("Requires-Dist")
print("\\n".join(each.partition(";")[0].strip() for each in found if "extra ==" not in each))
"""


def tried(wheel: Path, tokens: int) -> str:
    """Install a wheel, let it write the README's text, and compare digests; what was found.

    Raises
    ------
    SystemExit
        If the text or a digest is another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        emulated = Emulated(Path(folder))
        emulated.install(wheel)
        written = emulated.python("-m", "lightmamba", *TEXT)
        if readme_text() not in written:
            raise SystemExit(f"the wheel writes another text:\n{written}")
        there = emulated.python("-c", DIGESTS, tokens)
    here = run(sys.executable, "-c", DIGESTS, tokens)
    found = {tuple(line.split()[n] for n in (0, 2, 3)) for line in (here + there).splitlines()}
    if len(found) != len({name for name, *_ in found}):
        raise SystemExit(f"digests differ; here:\n{here}there:\n{there}")
    return f"the text of the README; digests of {tokens} tokens of each model are equal\n{there}"


def main() -> None:
    """Try the wheel."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--tokens", type=int, default=100, help="of each digest (100)")
    args = parser.parse_args()
    print(tried(args.wheel.resolve(), args.tokens))


if __name__ == "__main__":
    main()
