"""Verbs on a device: simulated here, with the engine's results."""

import json

import pytest

from lightmamba.common.errors import InputError
from lightmamba.device.boards.selftest import expected
from lightmamba.device.host.recording import ReplayDevice
from lightmamba.hardware.machine.artifact import Artifact
from tests.cli.cases import needs_verilator


@needs_verilator
def test_evaluation_on_a_device_is_the_engines(run, spoken, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text(" ".join(str(n * 7 % 50) for n in range(24)))
    words = ("evaluate", spoken, "--ids", ids, "--window", "8", "--json")
    engine, device = (json.loads(run(*words, "--device", name).out) for name in ("engine", "sim"))
    assert engine.pop("clipped") == device.pop("clipped")
    assert engine == device


@needs_verilator
def test_a_recorded_text_is_played_back(run, spoken, tmp_path):
    session = tmp_path / "session"
    words = ("generate", spoken, "--prompt", "!", "--max-tokens", "3", "--json")
    said = run(*words, "--device", "sim", "--record", session)
    assert json.loads(said.out)["token_ids"] == json.loads(run(*words).out)["token_ids"]
    with session.open() as file:
        assert sum('"wait_interrupt"' in line for line in file) >= 3
    assert ReplayDevice(session).calls == 0
    again = run(*words, "--device", "sim", "--record", session)
    assert f"{session} exists; give another name, or --force to replace it" in again.refusal
    assert run(*words, "--device", "sim", "--record", session, "--force").status == 0


@needs_verilator
def test_the_self_test(run, spoken, tmp_path):
    said = run("selftest", spoken, "--device", "sim", "--json")
    found = json.loads(said.out)
    assert (said.status, found["passed"], found["problem"]) == (0, True, None)
    wrong = tmp_path / "expected.json"
    values = expected(Artifact.read(spoken)).to_dict()
    wrong.write_text(json.dumps({"self_test": values | {"build": "x"}}))
    said = run("selftest", spoken, "--device", "sim", "--expected", wrong, "--json")
    found = json.loads(said.out)
    assert (said.status, found["passed"]) == (1, False)
    assert found["steps"] == {"registers": True, "memory": False}
    assert "another build" in found["problem"]
    wrong.write_text('{"self_test": null}')
    refused = run("selftest", spoken, "--device", "sim", "--expected", wrong).refusal
    assert f"{wrong} does not hold expected results (self_test must be a table, not None" in refused


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"lightmamba recording": 9}'])
def test_what_is_no_recording(tmp_path, text):
    file = tmp_path / "r"
    file.write_text(text)
    with pytest.raises(InputError, match="is not a recording of a device"):
        ReplayDevice(file)
