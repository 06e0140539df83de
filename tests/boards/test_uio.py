"""The UIO driver against a directory that mimics sysfs, with simulated hardware behind it."""

import os
import shutil
import threading

import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards import uio
from lightmamba.device.boards.selftest import STEPS, expected, self_test
from lightmamba.device.boards.uio import Buffer, UioWindow, open_uio
from tests.sim.test_copies import TWO
from tests.support.tools import needs_verilator

from .support import Registers, bare, build_on

NAMES = ("lane0", "lane1", "aux", "ddr-a", "ddr-b")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return build_on(tmp_path_factory.mktemp("builds"), NAMES, TWO)


class Board:
    """Folders as Linux has them, and memory that driver and simulator share."""

    def __init__(self, folder, artifact, *, shift=0x8_0000_0000):
        self.system, self.devices = folder / "class", folder / "dev"
        window = self.system / "uio" / "uio3"
        (window / "maps" / "map0").mkdir(parents=True)
        (window / "name").write_text("lightmamba\n")
        (window / "maps" / "map0" / "size").write_text("0x00001000\n")
        other = self.system / "uio" / "uio0"
        other.mkdir()
        (other / "name").write_text("axi-pmon\n")
        self.devices.mkdir()
        self.opened: list[Registers] = []
        self.simulator = bare(artifact)
        at = shift
        for name, (size, alignment) in artifact.extents().items():
            folder = self.system / "u-dma-buf" / f"lightmamba-{name}"
            folder.mkdir(parents=True)
            whole = -(-(size + alignment) // 4096) * 4096
            (folder / "phys_addr").write_text(f"{at:#x}\n")
            (folder / "size").write_text(f"{whole}\n")
            file = self.devices / f"lightmamba-{name}"
            file.write_bytes(bytes(whole))
            self.simulator.map(name, at, whole, file, shared=True)
            at += whole + (1 << 20)


@pytest.fixture
def board(tmp_path, build, monkeypatch):
    found = Board(tmp_path, build)

    def window(device, size):
        assert (device, size) == (found.devices / "uio3", 4096)
        found.opened.append(Registers(found.simulator))
        return found.opened[-1]

    monkeypatch.setattr(uio, "UioWindow", window)
    yield found
    found.simulator.close()


@needs_verilator
def test_the_self_test_passes(board, build):
    with open_uio(build, system=str(board.system), devices=str(board.devices)) as device:
        device.load(build)
        assert all(base >= 0x8_0000_0000 for base in device.bases.values())
        steps = list(self_test(device, build, expected(build)))
        assert [(step.name, step.problem) for step in steps] == [(name, "") for name in STEPS]
    assert board.opened[-1].closed


@needs_verilator
def test_what_is_missing_is_said(board, build, monkeypatch):
    shutil.rmtree(board.system / "u-dma-buf" / "lightmamba-aux")
    with pytest.raises(InputError, match=r"there is no memory lightmamba-aux \(No such file"):
        open_uio(build, system=str(board.system), devices=str(board.devices))
    (board.system / "uio" / "uio3" / "name").write_text("other\n")
    with pytest.raises(InputError, match="there is no UIO device lightmamba under"):
        open_uio(build, system=str(board.system), devices=str(board.devices))


@needs_verilator
def test_a_buffer_that_is_too_small(board, build):
    folder = board.system / "u-dma-buf" / "lightmamba-lane1"
    (folder / "size").write_text("4096\n")
    with pytest.raises(
        DeviceError, match=r"channel lane1 needs [\d,]+ bytes .* has 4,096; make it"
    ):
        open_uio(build, system=str(board.system), devices=str(board.devices)).load(build)


@needs_verilator
def test_an_interrupt_that_never_comes(board, build):
    with open_uio(
        build, system=str(board.system), devices=str(board.devices), seconds=1e-6
    ) as device:
        device.load(build)
        device.start(1, fresh=True)
        with pytest.raises(DeviceError, match="no interrupt in 1e-06 s; units that have work: "):
            device.wait()


def test_registers_are_mapped_word_by_word(tmp_path):
    """The window on a plain file in the place of /dev/uio3."""
    file = tmp_path / "uio3"
    file.write_bytes(bytes(4096))
    window = UioWindow(file, 4096)
    window.write(12, 0xDEADBEEF)
    window.write(4092, 7)
    assert (window.read(12), window.read(8), window.read(4092)) == (0xDEADBEEF, 0, 7)
    window.close()
    assert file.read_bytes()[12:16] == bytes.fromhex("efbeadde")
    with pytest.raises(InputError, match=r"cannot open .*none: No such file or directory; run as"):
        UioWindow(tmp_path / "none", 4096)
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InputError, match=r"cannot map 8192 bytes of .*uio3: "):
        UioWindow(file, 8192)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_the_interrupt_is_unmasked_and_read(tmp_path, monkeypatch):
    """As UIO wants it: write 1, wait, read the count; on a socket in the place of the device."""
    import socket

    ours, theirs = socket.socketpair()
    file = tmp_path / "uio3"
    file.write_bytes(bytes(4096))
    window = UioWindow(file, 4096)
    os.dup2(ours.fileno(), window._file)
    assert not window.wait(0.01)
    assert theirs.recv(4) == b"\x01\0\0\0"
    theirs.send(b"\x05\0\0\0")
    assert not window.wait(0.01), "the interrupt of a pass that nobody waited for"
    threading.Timer(0.05, theirs.send, (b"\x06\0\0\0",)).start()
    assert window.wait(5)
    window.close()
    for end in (ours, theirs):
        end.close()


def test_a_buffer_is_the_memory_itself(tmp_path):
    folder = tmp_path / "class" / "u-dma-buf" / "b"
    folder.mkdir(parents=True)
    (folder / "phys_addr").write_text("0x0000000070000000\n")
    (folder / "size").write_text("8192\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "b").write_bytes(bytes(8192))
    buffer = Buffer("b", tmp_path / "class", tmp_path / "dev")
    assert (buffer.address, buffer.size) == (0x7000_0000, 8192)
    buffer.bytes[5] = 9
    buffer.close()
    assert (tmp_path / "dev" / "b").read_bytes()[5] == 9
    (folder / "phys_addr").write_text("somewhere")
    with pytest.raises(InputError, match="does not say where its memory lies"):
        Buffer("b", tmp_path / "class", tmp_path / "dev")
