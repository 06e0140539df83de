"""The device behind a serial line: loading, texts, and what goes wrong around them."""

import logging

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards import serial_ulx3s
from lightmamba.device.boards.selftest import STEPS, expected, self_test
from lightmamba.device.boards.serial_device import SerialDevice
from lightmamba.device.boards.serial_link import SerialLink
from lightmamba.device.boards.serial_port import _others, open_port
from lightmamba.device.boards.serial_ulx3s import check_board, open_ulx3s
from lightmamba.device.sim.simulator import Status
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.registers import offsets
from lightmamba.hardware.machine.serial import Operation
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import DeviceDecoder, generate
from tests.support.tools import needs_verilator

from .serial_board import FakePort, Memory
from .support import bare, build_on

NAMES = ("lane0", "lane1", "state", "aux")
SIZE = 1 << 25
AT = offsets()


@pytest.fixture
def device(port):
    return SerialDevice(SerialLink(port))


def test_writes_to_registers_share_a_request(port, device):
    port.requests.clear()
    for n in range(5):
        device.write32(AT["lane_base"] + 8 * n, n)
    assert port.requests == []
    assert device.read32(AT["lane_base"] + 16) == 2
    assert port.requests == [Operation.WRITE_REGISTERS, Operation.REGISTERS]
    for n in range(128):
        device.write32(AT["program_data"], n)
    assert port.requests[2:] == [Operation.WRITE_REGISTERS]
    assert port.behind.written[5:] == [(AT["program_data"], n) for n in range(128)]


def test_wide_registers_and_counters_are_one_request(port, device):
    port.requests.clear()
    device.write("counter_index", 3)
    device.read("counter_value")
    device._counter_values(range(9))
    assert port.requests == [
        Operation.WRITE_REGISTERS, Operation.REGISTERS, Operation.REGISTERS,
    ]  # fmt: skip


@pytest.mark.parametrize("at", [0, 1, 7, 8, 1021])
@pytest.mark.parametrize("count", [0, 1, 6, 8, 9, 1024, 2500])
def test_bytes_of_memory_at_any_address(port, device, at, count):
    before = np.random.default_rng(1).integers(0, 256, 8192, np.uint8)
    port.behind.memory[:8192] = before
    values = np.random.default_rng(2).integers(0, 256, count, np.uint8)
    device.write_memory("x", at, values)
    wanted = before.copy()
    wanted[at : at + count] = values
    assert np.array_equal(port.behind.memory[:8192], wanted)
    assert np.array_equal(device.read_memory("x", at, count), values)


def test_memory_ends_where_the_board_says(device):
    with pytest.raises(DeviceError, match="33,554,432 bytes has no 16 at 0x1fffff8"):
        device.read_memory("x", SIZE - 8, 16)
    assert device.allocate({"a": (100, 4096), "b": (SIZE - 4096, 4096)}) == {"a": 0, "b": 4096}
    with pytest.raises(
        DeviceError, match=r"needs 33,558,528 bytes .* but the board has 33,554,432"
    ):
        device.allocate({"a": (4097, 4096), "b": (SIZE - 4096, 4096)})


def test_waiting_is_not_polling(port, device, clock):
    port.behind.delay, start = 3.0, clock.now
    port.requests.clear()
    device.write32(0, 1)
    device.wait_interrupt()
    assert 3.0 <= clock.now - start < 3.3
    assert len(port.requests) <= 1 + 3 / 0.25
    port.behind.delay = 100.0
    with pytest.raises(DeviceError, match="no interrupt in 30 s; units that have work: none"):
        device.wait_interrupt()


def test_closing(port, device):
    device.close()
    assert port.behind.written == [(AT["control"], 0)]
    assert port.closed
    device.close()


def test_closing_a_board_that_is_gone(port, device):
    port.pulled = True
    device.close()
    assert port.closed
    device.close()


class Chip:
    """A simulated accelerator with one memory for all channels, a file that both sides see."""

    def __init__(self, artifact, folder):
        self.simulator = bare(artifact)
        file = folder / "memory"
        file.write_bytes(bytes(SIZE))
        for name in NAMES:
            self.simulator.map(name, 0, SIZE, file, shared=True)
        self.memory = np.memmap(file, np.uint8, "r+")
        self.read, self.write = self.simulator.host_read, self.simulator.host_write

    def wait(self, seconds):
        return self.simulator.run(int(seconds * 50e6), watchdog=50_000) == Status.INTERRUPT


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    from tests.sim.machines import TARGET

    return build_on(tmp_path_factory.mktemp("builds"), NAMES[: len(TARGET.channels)])


@pytest.fixture
def chip(build, tmp_path):
    found = Chip(build, tmp_path)
    yield found
    found.simulator.close()


@pytest.fixture
def board(chip, build, clock, monkeypatch):
    """A port that `open_ulx3s` opens."""
    found = FakePort(clock, chip, build=build_hash(build.arch))
    monkeypatch.setattr(serial_ulx3s, "open_port", lambda name, baud: found)
    return found


def reopened(board):
    """The port, as another program opens it."""
    board.baudrate, board.closed = 115_200, False


@needs_verilator
def test_the_self_test_passes_on_a_noisy_line(board, build):
    rng = np.random.default_rng(7)
    with open_ulx3s(build, port="/dev/ttyUSB0") as device:
        board.to_board = board.to_host = lambda frame: (
            frame[:5] + bytes([frame[5] ^ 64]) + frame[6:] if rng.random() < 0.02 else frame
        )
        device.load(build)
        steps = list(self_test(device, build, expected(build)))
        assert [(step.name, step.problem) for step in steps] == [(name, "") for name in STEPS]
        assert device.link.broken > 5
    assert board.closed


@needs_verilator
def test_requests_of_a_token(board, build):
    """A sampled token takes few round trips; a chain of greedy ones no more than one token."""
    with open_ulx3s(build, port="/dev/ttyUSB0") as device:
        device.load(build)
        decoder = DeviceDecoder(device, open_model(build))
        state = decoder.empty_state(1)
        decoder.forward(np.array([[1]]), state)
        board.requests.clear()
        decoder.forward(np.array([[2]]), state)
        assert len(board.requests) <= 8, board.requests


@needs_verilator
def test_weights_stay_on_the_board(board, build, caplog):
    said: list[tuple[int, int]] = []

    def load(**options: int) -> SerialDevice:
        reopened(board)
        with open_ulx3s(build, port="/dev/ttyUSB0", **options) as device:
            device.progress = lambda done, total: said.append((done, total))
            device.load(build)
            device.start(1, fresh=True)
            device.wait()
            logits.append(device.logits())
        return device

    logits: list[np.ndarray] = []
    with caplog.at_level(logging.INFO):
        assert not load().kept
        assert said[-1][0] == said[-1][1] == build.image_bytes
        count = len(said)
        assert load().kept
        assert len(said) == count
    assert "the weights are still in the board's memory" in caplog.text
    assert not load(fresh=1).kept
    board.behind.memory[build.region("embedding").address] ^= 1  # something else wrote there
    image = next(region for region in build.regions if region.file)
    base = load().address(image)
    board.behind.memory[base] ^= 1
    assert not load().kept
    reopened(board)
    with open_ulx3s(build, port="/dev/ttyUSB0") as device:
        device.load(build)
        assert device.kept
        device.write_memory(image.channel, base, np.zeros(1, np.uint8))
    assert not load().kept
    for each in logits[1:]:
        assert np.array_equal(each, logits[0])


@needs_verilator
def test_a_cable_that_is_pulled_in_the_middle_of_a_text(board, build):
    """The caller keeps the tokens that were generated before."""
    found: list[int] = []

    def pull_and_go_on() -> None:
        device = open_ulx3s(build, port="/dev/ttyUSB0")
        device.load(build)
        decoder = DeviceDecoder(device, open_model(build))
        for step in generate(decoder, [1, 2, 3], max_tokens=9, sampling=SamplingOptions(seed=3)):
            found.append(step.token_id)
            board.pulled = len(found) == 4

    with pytest.raises(DeviceError, match=r"the serial port /dev/ttyUSB0 is gone .*plug the board"):
        pull_and_go_on()
    assert len(found) == 4
    board.pulled = False


@needs_verilator
def test_another_bitstream_is_refused(board, build):
    board.identity = board.identity[:8] + b"\x01\x02\x03\x04" + board.identity[12:]
    with pytest.raises(
        InputError, match=r"with hash .*, but the Radiona ULX3S .* bitstream of 04030"
    ):
        open_ulx3s(build, port="/dev/ttyUSB0")
    assert board.closed


def test_a_model_that_is_too_large(clock, build):
    port = FakePort(clock, Memory(), build=build_hash(build.arch), memory_log2=12)
    with pytest.raises(
        InputError, match=r"needs [\d,]+ bytes of memory, but the Radiona.* has 4,096"
    ):
        check_board(SerialLink(port), build)


def test_a_port_that_is_not_there(build):
    with pytest.raises(
        InputError, match=r"cannot open the serial port /dev/nowhere \(No such file"
    ):
        open_ulx3s(build, port="/dev/nowhere")
    assert (
        _others(["/dev/ttyUSB1", "/dev/ttyUSB0"])
        == "serial ports on USB: /dev/ttyUSB0, /dev/ttyUSB1"
    )
    assert _others([]) == "no USB serial port is here; is the board plugged in?"
    with pytest.raises(InputError, match="baud must be 115200 to 3000000, not 300"):
        open_ulx3s(build, port="/dev/nowhere", baud=300)


def test_a_computer_without_pyserial(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(InputError, match=r"needs pyserial; install it with: pip install '\.\[ecp5"):
        open_port("/dev/ttyUSB0", 115_200)


def test_pyserial_itself_is_enough():
    """The driver uses nothing that pyserial's port lacks."""
    port = open_port("loop://", 115_200)
    port.write(b"abc")
    port.flush()
    assert port.in_waiting == 3
    port.timeout = 0.01
    assert port.read(5) == b"abc"
    port.reset_input_buffer()
    port.baudrate = 1_000_000
    port.close()
