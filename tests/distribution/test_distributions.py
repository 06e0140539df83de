"""The wheel and the sdist hold all that the program reads; a forgotten file fails."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from setuptools import Distribution

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
LIBRARIES = ("portable", "avx2", "avx512")  # of the kernels, on x86-64


def shipped():
    """Files of the package, as they lie in ``src``, but for what builds and runs leave there."""
    left = {".pyc", ".so", ".o"}
    found = {path.relative_to(SOURCES) for path in SOURCES.glob("lightmamba/**/*")
             if path.is_file() and path.suffix not in left}  # fmt: skip
    assert len(found) > 300
    return {path.as_posix() for path in found}


def test_every_file_of_the_package_goes_into_the_wheel(monkeypatch, tmp_path):
    """But one; asked of setuptools, which does not need to build anything for it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    distribution = Distribution({"script_name": "setup.py"})
    distribution.parse_config_files()
    command = distribution.get_command_obj("build_py")
    command.build_lib = str(tmp_path)
    command.ensure_finalized()
    copied = {Path(name).relative_to(tmp_path).as_posix() for name in command.get_outputs()}
    assert shipped() - copied == {"lightmamba/model/data/experts/model.safetensors"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist of a copy without compiled libraries, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_sdist_holds_all_that_the_wheel_is_built_from(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in shipped()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "SECURITY.md"} <= names
    assert {"src/lightmamba/native/kernels.cpp", "src/lightmamba/native/types.hpp"} <= names


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_kernels_and_its_licences(built):
    with zipfile.ZipFile(built[0]) as archive:
        names = set(archive.namelist())
    own = {name for name in names if name.startswith("lightmamba/")}
    libraries = {name for name in own if name.endswith((".so", ".pyd"))}
    assert built[0].name.split("-", 2)[2].startswith("py3-none-"), "no version of Python is named"
    assert all(name.count(".") == 1 for name in libraries), libraries
    assert own - libraries == shipped()
    assert {name.split("/_")[1].split(".")[0] for name in libraries} >= {LIBRARIES[0]}
    about = {name.partition("/")[2] for name in names - own}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= about


@pytest.mark.slow
def test_the_wheel_alone_writes_text(built, tmp_path):
    """Unpacked in an empty folder, by a Python that sees the dependencies and no repository."""
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "import sys; sys.path.insert(0, 'site'); import lightmamba.cli; "
        "assert lightmamba.__file__.startswith(sys.argv.pop(1)), lightmamba.__file__; "
        "sys.exit(lightmamba.cli.main())"
    )
    words = ["generate", "bundled", "--prompt", "It is a truth", "--max-tokens", "8", "-v"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(tmp_path / "site"), *words],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("It is a truth which I can\ndeserve")
    assert "kernels on" in done.stderr
    assert "not built" not in done.stderr
