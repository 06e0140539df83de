"""Verbs on a device: simulated here, with the engine's results."""

import json
import shutil
from dataclasses import replace

import pytest

from lightmamba.device.boards.selftest import expected
from lightmamba.device.host.recording import ReplayDevice
from lightmamba.hardware.machine.artifact import Artifact
from tests.sim.machines import CONFIG, TARGET, compiled
from tests.support.builders import random_model, write_tokenizer

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    data = write_tokenizer(folder / "tokenizer.json", 50).read_bytes()
    model = replace(random_model(CONFIG), tokenizer=data)
    return compiled(folder, CONFIG, TARGET, model=model)


@needs_verilator
def test_evaluation_on_a_device_is_the_engines(run, build, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text(" ".join(str(n * 7 % 50) for n in range(24)))
    words = ("evaluate", build, "--ids", ids, "--window", "8", "--json")
    engine, device = (json.loads(run(*words, "--device", name).out) for name in ("engine", "sim"))
    assert engine.pop("clipped") == device.pop("clipped")
    assert engine == device


@needs_verilator
def test_a_recorded_text_is_played_back(run, build, tmp_path):
    session = tmp_path / "session"
    words = ("generate", build, "--prompt", "!", "--max-tokens", "3", "--json")
    said = run(*words, "--device", "sim", "--record", session)
    assert json.loads(said.out)["token_ids"] == json.loads(run(*words).out)["token_ids"]
    with session.open() as file:
        assert sum('"wait_interrupt"' in line for line in file) >= 3
    assert ReplayDevice(session).calls == 0
    again = run(*words, "--device", "sim", "--record", session)
    assert f"{session} exists; give another name, or --force to replace it" in again.refusal
    assert run(*words, "--device", "sim", "--record", session, "--force").status == 0


@needs_verilator
def test_the_self_test(run, build, tmp_path):
    said = run("selftest", build, "--device", "sim", "--json")
    found = json.loads(said.out)
    assert (said.status, found["passed"], found["problem"]) == (0, True, None)
    wrong = tmp_path / "expected.json"
    values = expected(Artifact.read(build)).to_dict()
    wrong.write_text(json.dumps({"self_test": values | {"build": "x"}}))
    said = run("selftest", build, "--device", "sim", "--expected", wrong, "--json")
    found = json.loads(said.out)
    assert (said.status, found["passed"]) == (1, False)
    assert found["steps"] == {"registers": True, "memory": False}
    assert "another build" in found["problem"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "self_test must be a table, not []"),
        ('{"self_test": null}', "self_test must be a table, not None"),
        ('{"self_test": {"program": [1]}}', "self_test.build is missing"),
        ('{"self_test": {"bild": ""}}', "self_test has no key bild; it has build, program, layer,"),
    ],
)
def test_what_are_no_expected_results(run, build, tmp_path, text, reason):
    file = tmp_path / "expected.json"
    file.write_text(text)
    refused = run("selftest", build, "--device", "sim", "--expected", file).refusal
    assert f"{file} does not hold expected results ({reason}" in refused
    assert refused.rstrip().endswith("make the package again, or leave --expected out")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--device", "moon"), "--device must be one of engine, sim, uio, "),
        (("--device", "xrt"), "device xrt needs the option xclbin; give it as --device-op"),
        (("--device", "uio", "--device-option", "speed=1"),
         "device uio has no option speed; it has system, devices, seconds"),
        (("--device", "sim", "--device-option", "stalls"),
         "a device option is key=value, such as xclbin=lightmamba.xclbin, not 'stalls'"),
        (("--device", "sim", "--device-option", "stalls=fast"),
         "device sim: an option has a value of the wrong kind: could not convert string to float"),
        (("--device", "uio"), "there is no UIO device lightmamba under /sys/class/uio; load the"),
    ],
)  # fmt: skip
def test_refusals(run, build, words, sentence):
    assert sentence in run("generate", build, "--prompt", "!", *words).refusal


def test_a_device_runs_builds(run, tmp_path):
    refused = run("evaluate", "state-spaces/m", "--ids", "x", "--device", "sim").refusal
    assert "state-spaces/m is not a build directory; make one with: lightmamba compile" in refused


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"lightmamba recording": 9}'])
def test_what_is_no_recording(tmp_path, text):
    from lightmamba.common.errors import InputError

    file = tmp_path / "r"
    file.write_text(text)
    with pytest.raises(InputError, match="is not a recording of a device"):
        ReplayDevice(file)
