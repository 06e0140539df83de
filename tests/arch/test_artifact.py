"""The build directory: written aside, read back, damage noticed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lightmamba.arch.artifact import Artifact, ArtifactWriter, Region, build_hash
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.program import Instruction, Op, words32
from lightmamba.arch.target import Target
from lightmamba.errors import InputError

PROGRAM = [Instruction(Op.END, {})]


def write(path: Path, **changes) -> Artifact:
    with ArtifactWriter(path, force=changes.pop("force", False)) as writer:
        writer.append("images/a.bin", b"abc")
        writer.append("images/a.bin", np.array([[100], [101]], dtype=np.uint8))
        assert writer.size("images/a.bin") == 5
        assert writer.size("images/none.bin") == 0
        return writer.finish(**_plain() | changes)


def _plain():
    regions = Region("a", "aux", 0, 5, "images/a.bin"), Region("b", "aux", 4096, 7)
    return {
        "target": Target.load("tiny"), "arch": ArchConfig(), "order": "reordered",
        "regions": regions, "registers": {"layers": 2, "lane_base": [0, 1]},
        "program": PROGRAM, "model": {"kind": "random"},
    }  # fmt: skip


def test_write_and_read(tmp_path):
    found = write(tmp_path / "b", verilog="module top;")
    assert found == Artifact.read(tmp_path / "b")
    found.verify()
    assert found.image(found.region("a")).tobytes() == b"abcde"
    assert found.image(found.region("b")).size == 0
    assert found.image_bytes == 5
    assert found.program() == PROGRAM
    assert found.program_words() == words32(PROGRAM)
    assert found.verilog == tmp_path / "b" / "top.v"
    assert found.registers == {"layers": 2, "lane_base": [0, 1]}
    assert (found.arch, found.target) == (ArchConfig(), Target.load("tiny"))
    assert set(found.files) == {"images/a.bin", "program.bin", "top.v"}
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["hash"] == build_hash(ArchConfig())
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_the_hash_is_of_the_build_parameters():
    assert 0 <= build_hash(ArchConfig()) < 1 << 32
    assert build_hash(ArchConfig()) == build_hash(ArchConfig())
    assert build_hash(ArchConfig()) != build_hash(ArchConfig(heads=9))


def test_an_existing_build_is_kept_unless_forced(tmp_path):
    write(tmp_path / "b")
    with pytest.raises(InputError, match=r"exists; give another name, or --force to replace it"):
        write(tmp_path / "b")
    assert write(tmp_path / "b", order="naive", force=True).order == "naive"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_what_is_no_build_is_never_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(InputError, match="exists and is no build directory; give another name"):
            write(tmp_path / "b", force=force)
    assert (tmp_path / "b" / "letter.txt").read_text() == "dear"
    with pytest.raises(InputError, match=r"there is no folder .*none to write b into; make it, or"):
        write(tmp_path / "none" / "b")
    with pytest.raises(InputError, match=r"cannot write into /proc: .*; give another place"):
        write(Path("/proc/b"))


def test_mistakes_of_the_writer_show(tmp_path):
    with pytest.raises(ValueError, match="there are no registers"):
        write(tmp_path / "b", registers={"speed": 1})
    wrong = (Region("a", "aux", 0, 6, "images/a.bin"),)
    with pytest.raises(ValueError, match=r"images/a.bin has 5 bytes, but its region 6"):
        write(tmp_path / "b", regions=wrong)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path):
    found = write(tmp_path / "b")
    image = tmp_path / "b" / "images" / "a.bin"
    image.write_bytes(b"abcdf")
    with pytest.raises(InputError, match=r"a.bin has changed since it was compiled; compile again"):
        Artifact.read(tmp_path / "b").verify()
    image.write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"a.bin is missing or cut short; compile again"):
        Artifact.read(tmp_path / "b")
    image.unlink()
    with pytest.raises(InputError, match=r"a.bin is missing or cut short"):
        Artifact.read(found.path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 1}, "is of version 1, but this program reads 2"),
        ({"arch": {"lanes": 0}}, "is damaged (lanes must be in 1..64, not 0); compile again"),
        ({"arch": {"colour": 0}}, "is damaged (unknown parameters"),
        ({"regions": [{"name": "a"}]}, "is damaged ("),
        ({"target": {"name": "x"}}, "is damaged (about is missing"),
        ({"files": 3}, "is damaged ("),
    ],
)
def test_a_damaged_manifest(tmp_path, change, sentence):
    write(tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(InputError, match=re.escape(sentence)):
        Artifact.read(tmp_path / "b")


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_no_manifest_at_all(tmp_path, text):
    write(tmp_path / "b")
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"is damaged|is of version None"):
        Artifact.read(tmp_path / "b")
    with pytest.raises(
        InputError, match="is no build directory; make one with: lightmamba compile"
    ):
        Artifact.read(tmp_path / "none")
