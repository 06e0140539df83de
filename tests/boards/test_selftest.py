"""The self-test passes on the simulator in the place of a board, and sees what is wrong."""

import json
import re
from dataclasses import replace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.device.boards.selftest import PASSES, PROBE, STEPS, Expected, expected, self_test
from lightmamba.device.host.recording import RecordingDevice, ReplayDevice
from lightmamba.device.sim import SimDevice, open_device
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from tests.sim.machines import CONFIG, FOUR, HARDWARE, compiled
from tests.sim.test_copies import TWO, anywhere
from tests.support.tools import needs_verilator

pytestmark = needs_verilator


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return Artifact.read(compiled(tmp_path_factory.mktemp("builds"), CONFIG, TWO))


@pytest.fixture(scope="module")
def right(build):
    return expected(build)


@pytest.fixture
def device(build):
    found = open_device(build, placement=anywhere(2))
    yield found
    found.simulator.close()


def results(device, build, right):
    return [(step.name, step.passed, step.problem) for step in self_test(device, build, right)]


def test_all_steps_pass_on_simulated_hardware(device, build, right):
    assert results(device, build, right) == [(name, True, "") for name in STEPS]
    assert Expected.from_dict(right.to_dict()) == right


def test_ids_that_are_padding_are_not_expected(build, right):
    """The hardware never takes them; whatever their logits are."""
    model = open_model(build)
    most = max(right.ids)
    padded = expected(build, replace(model, valid_vocab=most))
    assert padded.ids != right.ids
    assert max(padded.ids) < most


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A build of four tokens per pass, and what must come out."""
    artifact = Artifact.read(
        compiled(tmp_path_factory.mktemp("builds"), CONFIG, FOUR, hardware=HARDWARE)
    )
    return artifact, expected(artifact)


@pytest.mark.slow
@pytest.mark.board
def test_all_steps_pass_on_hardware_of_several_tokens(several):
    artifact, right = several
    with open_device(artifact, placement=anywhere(4)) as device:
        found = results(device, artifact, right)
    assert found == [(name, True, "") for name in STEPS + PASSES]
    assert Expected.from_dict(right.to_dict()) == right


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize(
    ("broken", "step", "problem"),
    [
        ("last logits", "chunk", "logits is not what the engine computes"),
        ("replay", "verify", "the next tokens are"),
        ("slots", "batch", "the next tokens are"),
    ],
)
def test_what_is_wrong_with_passes_is_found_by_its_step(
    several, monkeypatch, broken, step, problem
):
    """One bit of the last logits; tokens that are not done again; states that are swapped."""
    artifact, right = several
    submit, wanted_logits = SimDevice.submit, SimDevice.wanted_logits

    def otherwise(self, work, *, chain=0):
        slots = work.slots
        if broken == "replay":
            slots = tuple(replace(slot, replay=0) for slot in slots)
        if broken == "slots" and len(slots) == 4:
            slots = (*slots[:2], *(replace(s, sequence=5 - s.sequence) for s in slots[2:]))
        submit(self, replace(work, slots=slots), chain=chain)

    def false_logits(self):
        found = wanted_logits(self)
        if len(found) > 1:
            found[-1, 7] ^= 1
        return found

    if broken == "last logits":
        monkeypatch.setattr(SimDevice, "wanted_logits", false_logits)
    else:
        monkeypatch.setattr(SimDevice, "submit", otherwise)
    with open_device(artifact, placement=anywhere(4)) as device:
        found = results(device, artifact, right)
    assert [passed for _, passed, _ in found] == [True] * (len(found) - 1) + [False]
    assert found[-1][0] == step
    assert problem in found[-1][2]


@pytest.mark.parametrize(
    ("broken", "step", "problem"),
    [
        ("register", "registers", "register token kept"),
        ("memory", "memory", "does not keep what is written"),
        ("image", "memory", "is not what was loaded"),
        ("layer", "one layer", "state is not what the engine computes"),
        ("logits", "one token", "logits is not what the engine computes"),
        ("ids", "chain", "after 8 tokens the next one is"),
    ],
)
def test_what_is_wrong_is_found_by_its_step(
    device, build, right, monkeypatch, broken, step, problem
):
    write32, read_memory = SimDevice.write32, SimDevice.read_memory
    logits = build.region("logits")

    def stuck(self, offset, value):
        write32(self, offset, value & 0x7FFFFFFF if offset == 24 else value)

    def forgets(self, channel, address, count):
        found = read_memory(self, channel, address, count)
        region = "lane0" if broken == "image" else "state"
        if address == self.address(build.region(region)):
            found[7] ^= 1
        return found

    def false_logits(self, channel, address, count):
        found = read_memory(self, channel, address, count)
        if address == self.address(logits) and count == 4 * CONFIG.vocab_size:
            found[0] ^= 1
        return found

    if broken == "register":
        monkeypatch.setattr(SimDevice, "write32", stuck)
    elif broken in ("memory", "image"):
        monkeypatch.setattr(SimDevice, "read_memory", forgets)
    elif broken == "logits":
        monkeypatch.setattr(SimDevice, "read_memory", false_logits)
    elif broken == "layer":
        right = replace(right, layer={**right.layer, "state": "0" * 64})
    else:
        right = replace(right, ids=(*right.ids[:-1], right.ids[-1] ^ 1))
    found = results(device, build, right)
    assert [passed for _, passed, _ in found] == [True] * (len(found) - 1) + [False]
    assert found[-1][0] == step
    assert problem in found[-1][2]


ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("change", "step", "named", "there"),
    [
        ({"images": {"lane0": ZEROS}}, "memory", "lane0", "conv_params"),
        ({"layer": {"conv_state": ZEROS}}, "one layer", "conv_state", "conv_state, state"),
        ({"token": {"logits": ZEROS}}, "one token", "logits", "conv_state, logits, state"),
        ({"token": {"moon": ZEROS}}, "one token", "moon", "conv_state, logits, state"),
    ],
)
def test_expected_results_that_leave_something_out(
    device, build, right, change, step, named, there
):
    """A step that has nothing to compare with would pass whatever the device does."""
    *_, (last, passed, problem) = results(device, build, replace(right, **change))
    assert (last, passed) == (step, False)
    assert f"the expected results are of {named}, but this build has {there}" in problem
    assert problem.endswith("; make the package again")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ids": None}, "self_test.ids is missing"),
        ({"tokens": {}}, "self_test has no key tokens; it has build, program, layer, token, ids"),
        ({"ids": [1]}, "self_test: ids has 1 entries, expected 8"),
        ({"layer": {}}, "self_test: layer names nothing to compare"),
        ({"token": {}}, "self_test: token names nothing to compare"),
        ({"images": {}}, "self_test: images names nothing to compare"),
        ({"token": {"logits": "5"}}, "self_test: token.logits must be 64 hexadecimal digits"),
        ({"program": []}, "self_test: program must be words of 32 bits, at least one"),
        ({"program": [1 << 32]}, "self_test: program must be words of 32 bits, at least one"),
    ],
)
def test_expected_results_that_cannot_be_read(right, change, sentence):
    values = {
        name: value for name, value in (right.to_dict() | change).items() if value is not None
    }
    with pytest.raises(InputError, match=re.escape(sentence)):
        Expected.from_dict(values)


def test_every_byte_of_the_images_is_read_back(device, build, right, monkeypatch):
    """One bit in the middle of the memory, far from both ends of its region."""
    region = max((r for r in build.regions if r.file is not None), key=lambda r: r.bytes)
    place = SimDevice.place

    def loses(self, artifact, regions):
        place(self, artifact, regions)
        at = self.address(region) + region.bytes // 2
        kept = self.read_memory(region.channel, at, 1)
        self.write_memory(region.channel, at, kept ^ 8)

    assert region.bytes > 3 * PROBE
    monkeypatch.setattr(SimDevice, "place", loses)
    assert results(device, build, right)[-1] == (
        "memory", False, f"{region.name} in {region.channel} is not what was loaded"
    )  # fmt: skip


def test_expected_results_of_another_build(device, build, right):
    other = replace(right, build="0")
    assert results(device, build, other)[-1] == (
        "memory", False, "the expected results are of another build; make the package again",
    )  # fmt: skip


def test_a_recorded_session_played_back(device, build, right, tmp_path):
    """The driver does the same, call by call; nothing of the hardware is there."""
    with RecordingDevice(device, tmp_path / "session") as recorded:
        wanted = results(recorded, build, right)
    played = ReplayDevice(tmp_path / "session")
    assert results(played, build, right) == wanted
    played.finish()
    calls = [json.loads(line) for line in (tmp_path / "session").read_text().splitlines()]
    loaded = [r.bytes for r in build.regions if r.file is not None]
    read = [one for one in calls if one.get("call") == "read_memory"]
    unchanged = [one["count"] for one in read if one["gives"] is None]
    assert set(loaded) <= set(unchanged)  # read back as they were written, so not in it once more
    assert len(unchanged) < len(read)
