"""The host's side of a device, on the copying machine, whose registers lie as the real ones do."""

import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.tools import run
from lightmamba.device.host.device import Flags
from lightmamba.device.sim.device import MADE_OF, PACKAGE, SimDevice, machine_verilog, open_device
from lightmamba.device.sim.simulator import MemoryChannel, Simulator
from lightmamba.hardware.machine.artifact import Artifact, Region, Stored
from lightmamba.hardware.machine.manifest import PROGRAM
from lightmamba.hardware.machine.probes import Element, Probe

from .copier import EARLY_LAST, NEVER_FINISH, PORTS, PROBES, SOURCE, TARGET, WRITE, build

VOCAB = 99  # of logits; 25 beats hold one word more
BEATS = 25
DATA = np.random.default_rng(1).integers(0, 1 << 31, 4 * BEATS, dtype=np.uint32)
OBSERVED = (
    Probe("beat", (Element("sum", "u4", 4), Element("left", "u4"), Element("id", "u4")), 0),
    Probe("done", (Element("finished", "u2"),), 0),
)


def artifact(path: Path, *, mode: int = WRITE, program: int = 7) -> Artifact:
    (path / "images").mkdir(exist_ok=True)
    (path / "images" / "lane0.bin").write_bytes(DATA.tobytes())
    np.array([program, 8, 9], "<u4").tofile(path / PROGRAM)
    return Artifact(
        path=path,
        target=Target.load("tiny"),
        arch=ArchConfig(),
        order="reordered",
        regions=(
            Region("lane0", "lane0", SOURCE, 4096, "images/lane0.bin"),
            Region("state", "aux", TARGET - 8192, 4096),
            Region("conv_state", "aux", TARGET - 4096, 100),
            Region("logits", "aux", TARGET, 16 * BEATS),
        ),
        registers={
            "layers": mode,
            "layers_beats": BEATS,
            "lane_base": [SOURCE, 1, 2, 3],
            "logits_base": TARGET,
        },
        model={"config": {"vocab_size": VOCAB}},
        files={"images/lane0.bin": Stored(DATA.nbytes, "")},
    )


def device(watchdog: int = 50_000) -> SimDevice:
    memory = {name: (MemoryChannel(name, 16, latency=10),) for name in ("lane0", "aux")}
    sizes = [(probe.name, probe.bytes) for probe in OBSERVED]
    assert sizes == list(PROBES)
    simulator = Simulator(build(), [port.name for port in PORTS], memory, sizes)
    return SimDevice(simulator, OBSERVED, watchdog=watchdog)


@pytest.fixture
def ready(tmp_path):
    with device() as it:
        it.load(artifact(tmp_path))
        yield it


def test_a_token(ready):
    assert ready.status == Flags.DRAINED
    ready.start(5, fresh=True)
    assert Flags.BUSY in ready.status
    cycles = ready.wait()
    logits = ready.logits()
    np.testing.assert_array_equal(logits, (DATA + np.uint32(5)).view(np.int32)[:VOCAB])
    assert logits.dtype == np.int32
    assert ready.next_token() == np.bitwise_xor.reduce(DATA + np.uint32(5)) & 0xFFFFF
    assert 25 < cycles < 120
    counted = ready.counters()
    assert counted["multiplying"] == cycles
    assert sum(counted.values()) == cycles
    assert ready.status == Flags.DRAINED  # done is acknowledged
    seen = ready.probes()
    np.testing.assert_array_equal(seen["beat"]["sum"].ravel(), DATA + np.uint32(5))
    assert seen["done"]["finished"].tolist() == [1]
    assert len(ready.probes()["beat"].records) == 0


def test_program_and_registers_are_written(ready):
    assert ready.read("program_index") == 3
    assert ready.read("lane_base") == SOURCE
    assert [ready.read("lane_base", n) for n in (1, 3)] == [1, 3]
    assert ready.read("logits_base") == TARGET
    assert ready.read("control") == 1
    with pytest.raises(ValueError, match="there are 64 lane_base, not 65"):
        ready.read("lane_base", 64)
    with pytest.raises(ValueError, match="token takes 32 bits"):
        ready.write("token", 1 << 32)


def test_a_state_of_another_build_is_refused(ready, tmp_path):
    """Equal sizes do not make it the same model."""
    ready.start(0, fresh=True)
    ready.wait()
    saved = ready.save_state()
    build = artifact(tmp_path)
    files = {"images/lane0.bin": Stored(DATA.nbytes, "f" * 64)}
    for other in (replace(build, files=files), replace(build, order="naive")):
        ready.load(other)
        with pytest.raises(InputError, match="is of another model or machine than"):
            ready.restore_state(saved)
    ready.load(build)
    ready.restore_state(saved)


def test_every_sequence_has_a_name_of_its_own(ready, tmp_path):
    names = [ready.sequences[0].key]

    def new() -> bool:
        names.append(ready.sequences[0].key)
        return names[-1] not in names[:-1]

    ready.start(0, fresh=True)
    assert new()
    ready.wait()
    saved = ready.save_state()
    ready.start(1)
    assert not new()
    ready.wait()
    ready.restore_state(saved)
    assert new()
    ready.reset()
    assert new()
    ready.load(artifact(tmp_path))
    assert new()


def test_loading_again_begins_anew(ready, tmp_path):
    ready.start(3, fresh=True)
    ready.wait()
    ready.load(artifact(tmp_path))
    assert ready.sequences[0].position == 0
    assert not ready.logits().any()
    ready.start(6)
    assert ready.wait() < 120
    np.testing.assert_array_equal(ready.logits(), (DATA + np.uint32(6)).view(np.int32)[:VOCAB])


def test_misuse_is_refused(ready, tmp_path):
    with pytest.raises(DeviceError, match="load a build first"):
        device().start(0)
    with pytest.raises(DeviceError, match="nothing was started"):
        ready.wait()
    with pytest.raises(InputError, match="token id 99 is out of range; the model's are 0 to 98"):
        ready.start(99)
    with pytest.raises(ValueError, match="a chain of tokens needs logits"):
        ready.start(1, head=False, chain=3)
    ready.start(1)
    for use in (ready.logits, ready.next_token, ready.counters, lambda: ready.start(2)):
        with pytest.raises(DeviceError, match="a token is running"):
            use()
    with pytest.raises(DeviceError, match="a token is running"):
        ready.load(artifact(tmp_path))


@pytest.mark.parametrize(
    ("register", "message"),
    [
        ("magic", "no accelerator answers: register magic reads 0x00001234"),
        ("version", "the device has version 4660 of the registers, but this program knows"),
    ],
)
def test_what_is_no_device_of_ours_is_refused(tmp_path, monkeypatch, register, message):
    it = device()
    read = it.read
    monkeypatch.setattr(it, "read", lambda name: 0x1234 if name == register else read(name))
    with pytest.raises(DeviceError, match=message):
        it.load(artifact(tmp_path))


def test_another_machine_is_refused(tmp_path):
    other = replace(artifact(tmp_path), arch=ArchConfig(lanes=2))
    with pytest.raises(InputError, match=r"is for hardware with hash .* but the device has"):
        device().load(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"program": 0xBAD}, "an instruction that the hardware does not know"),
        ({"mode": NEVER_FINISH}, "nothing moved for 3000 cycles"),
        ({"mode": WRITE | EARLY_LAST}, "broke the rules of AXI; .*WLAST before the last beat"),
    ],
)
def test_faults_are_reported(tmp_path, changes: dict[str, int], message: str):
    it = device(watchdog=3000)
    it.load(artifact(tmp_path, **changes))
    it.start(1)
    with pytest.raises(DeviceError, match=message):
        it.wait()


def test_a_bus_fault_is_reported(tmp_path, monkeypatch):
    it = device()
    build = artifact(tmp_path)
    it.load(replace(build, registers={**build.registers, "lane_base": 1 << 30}))
    it.start(1)
    with pytest.raises(DeviceError, match=r"asked for what it does not have.*no memory at address"):
        it.wait()
    # A board has no messages, but a status; this machine has nothing in its register for faults.
    it.reset()
    it.start(1)
    monkeypatch.setattr(it, "wait_interrupt", lambda: it.simulator.run(10_000))
    with pytest.raises(DeviceError, match=r"an error that is not known \(register fault: 0x0\)"):
        it.wait()


def test_open_device_checks_first(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"stalls must be a probability in 0..0.9, not 1.5"):
        open_device(artifact(tmp_path), stalls=1.5)

    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(InputError, match="it is not here; install it with: pip install"):
        machine_verilog(ArchConfig(), cache=tmp_path)


# Modules of ours that are there when a machine has been made.
MODULES = """
import sys
from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.top import Top
Top(ArchConfig()).elaborate(None)
print(*(m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] == "lightmamba"))
"""
# Of these only errors and the reading of files are used.
OTHERS = {
    *("__init__.py", "common/__init__.py", "hardware/__init__.py"),
    *("common/errors.py", "common/plain.py", "common/tools.py"),
}


def test_the_cache_of_verilog_knows_all_that_it_is_made_of():
    found = {Path(file) for file in run([sys.executable, "-c", MODULES]).split()}
    kept = {file for each in MADE_OF for file in PACKAGE.glob(each)}
    assert {file.relative_to(PACKAGE).as_posix() for file in found - kept} == OTHERS
