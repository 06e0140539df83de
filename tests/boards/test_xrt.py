"""The XRT driver: compiled against XRT's headers, run on a card that is simulated."""

import ctypes
import json
import subprocess
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_uint8, c_uint32, c_uint64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards.selftest import STEPS, expected, self_test
from lightmamba.device.boards.xrt import SOURCE, banks, open_xrt
from lightmamba.hardware.machine.registers import offsets
from tests.sim.test_copies import TWO
from tests.support.tools import needs_verilator

from .support import Registers, bare, build_on

HEADERS = Path("/usr/include/xrt")
UUID = Path("/usr/include/uuid/uuid.h")  # which XRT's headers include
pytestmark = [
    pytest.mark.skipif(
        not ((HEADERS / "experimental" / "xrt_ip.h").is_file() and UUID.is_file()),
        reason="XRT's headers are missing: apt-get install libxrt-dev uuid-dev",
    ),
    needs_verilator,
]
BANKS = {"hbm0": "HBM[0]", "hbm1": "HBM[1]", "ddr4-0": "DDR[0]", "ddr4-1": "DDR[1]"}
NAMES = tuple(BANKS)
STATUS = offsets()["status"]
BASE = {"HBM[0]": 0, "HBM[1]": 0x1000_0000, "DDR[0]": 0x40_0000_0000, "DDR[1]": 0x44_0000_0000}
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{HEADERS}")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The driver's library, linked to the mock in the place of libxrt_coreutil."""
    folder = tmp_path_factory.mktemp("xrt")
    mock, built = folder / "libmock.so", folder / "liblightmamba_xrt.so"
    source = Path(__file__).parent / "mock_xrt.cpp"
    subprocess.run(["g++", *FLAGS, source, "-o", mock, "-luuid"], check=True)
    subprocess.run(
        ["g++", *FLAGS, SOURCE, "-o", built, f"-L{folder}", "-lmock", f"-Wl,-rpath,{folder}"],
        check=True,
    )
    (folder / "lightmamba.xclbin").write_bytes(b"xclbin2")
    channels = [{"name": name, "memory": tag} for name, tag in BANKS.items()]
    (folder / "map.json").write_text(json.dumps({"channels": channels}))
    return folder


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Lanes on HBM; state and what is small on the two DDR4, as on a u280."""
    lane0, lane1, aux, first, other = TWO.channels
    together = replace(first, ports=(*first.ports, *aux.ports))
    target = replace(TWO, channels=(lane0, lane1, together, other))
    return build_on(tmp_path_factory.mktemp("builds"), NAMES, target)


class Card:
    """A card behind XRT: registers, and memory by bank."""

    def __init__(self, folder, artifact):
        self.simulator = bare(artifact)
        window = Registers(self.simulator)
        names = {tag: name for name, tag in BANKS.items()}
        free = dict(BASE)

        def allocate(tag: bytes, size: int) -> int:
            at = free[tag.decode()]
            free[tag.decode()] = at + -(-size // 4096) * 4096
            self.simulator.map(names[tag.decode()], at, size)
            return at

        def put(tag: bytes, address: int, data, size: int) -> None:
            values = np.ctypeslib.as_array(data, (size,))
            self.simulator.write_memory(names[tag.decode()], address, values)

        def get(tag: bytes, address: int, data, size: int) -> None:
            found = self.simulator.read_memory(names[tag.decode()], address, size)
            np.ctypeslib.as_array(data, (size,))[:] = found

        def read(offset: int) -> int:
            if offset == STATUS:  # nobody else moves the clock while the driver polls
                self.simulator.run(500)
            return window.read(offset)

        bytes_of = POINTER(c_uint8)
        self.kept = (
            CFUNCTYPE(c_uint32, c_uint32)(read),
            CFUNCTYPE(None, c_uint32, c_uint32)(window.write),
            CFUNCTYPE(c_uint64, c_char_p, c_uint64)(allocate),
            CFUNCTYPE(None, c_char_p, c_uint64, bytes_of, c_uint64)(put),
            CFUNCTYPE(None, c_char_p, c_uint64, bytes_of, c_uint64)(get),
        )
        ctypes.CDLL(str(folder / "libmock.so")).mock_connect(*self.kept)


@pytest.fixture
def card(library, build):
    found = Card(library, build)
    yield found
    found.simulator.close()


def test_the_self_test_passes(card, library, build):
    with open_xrt(build, xclbin=str(library / "lightmamba.xclbin")) as device:
        device.load(build)
        assert device.bases == {name: BASE[tag] for name, tag in BANKS.items()}
        steps = list(self_test(device, build, expected(build)))
        assert [(step.name, step.problem) for step in steps] == [(name, "") for name in STEPS]


def test_what_is_missing_is_said(card, library, build, tmp_path):
    xclbin = str(library / "lightmamba.xclbin")
    with pytest.raises(
        InputError, match=r"cannot load .*none.so .* build it with make in the pack"
    ):
        open_xrt(build, xclbin=xclbin, library=str(tmp_path / "none.so"))
    with pytest.raises(InputError, match=r"there is no bitstream .*; build it with make"):
        open_xrt(
            build, xclbin=str(tmp_path / "x"), library=str(library / "liblightmamba_xrt.so"),
            map=str(library / "map.json"),
        )  # fmt: skip
    with pytest.raises(InputError, match=r"card 3 cannot be opened with .*: No such device '3'"):
        open_xrt(build, xclbin=xclbin, card=3)


def test_a_bank_that_the_bitstream_lacks(card, library, build):
    from lightmamba.device.boards.xrt import XrtDevice

    wrong = BANKS | {"hbm1": "HBM[7]"}
    device = XrtDevice(library / "liblightmamba_xrt.so", library / "lightmamba.xclbin", wrong)
    with pytest.raises(DeviceError, match=r"XRT: the bitstream has no memory HBM\[7\]"):
        device.load(build)
    device.close()


def test_banks_are_those_of_the_package(library, build, tmp_path):
    """Of the channels of the build only, whatever else the card has."""
    file = tmp_path / "map.json"
    with pytest.raises(InputError, match=r"there is no .*map.json; keep the bitstream in the fol"):
        open_xrt(build, xclbin=str(tmp_path / "lightmamba.xclbin"))
    more = [{"name": name, "memory": tag} for name, tag in (BANKS | {"hbm2": "HBM[2]"}).items()]
    file.write_text(json.dumps({"channels": more}))
    assert banks(file, build) == BANKS
    file.write_text(json.dumps({"channels": more[1:]}))
    with pytest.raises(InputError, match=r"has no channel hbm0; give the build that the package"):
        banks(file, build)
    file.write_text("{}")
    with pytest.raises(InputError, match=r"map.json is damaged .*; make the package again"):
        banks(file, build)
