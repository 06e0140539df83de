"""Builds: on the engine, and on simulated hardware, through the same client."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.host.device import Device
from lightmamba.device.host.devices import open_named
from lightmamba.device.sim import SimDevice
from lightmamba.hardware.compiler import build
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load, save
from lightmamba.serve import open_served
from tests.serve.running import expected, running, wait_for, with_chat
from tests.sim import machines
from tests.support.builders import random_model, write_tokenizer
from tests.support.layers import resized

simulated = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)
PROMPT = "It is a truth universally acknowledged, that a single man in possession of a fortune"


CONFIG = resized(machines.CONFIG, vocab_size=300)  # enough words for any text


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model with a chat template, and with a tokenizer of single characters."""
    words = write_tokenizer(tmp_path_factory.mktemp("words") / "tokenizer.json", 297)
    found = replace(random_model(CONFIG), tokenizer=words.read_bytes(), special_ids={"eos": 0})
    return with_chat(found)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """The model for the accelerator of most tests, whose simulator is built once."""
    folder = tmp_path_factory.mktemp("build")
    save(model, folder / "m.safetensors")
    made = build(model, machines.TARGET, folder / "demo", source=folder / "m.safetensors")
    return made.path


@pytest.fixture(scope="module")
def device(made):
    with running(open_served(made, device="sim")) as server:
        yield server


@simulated
@pytest.mark.parametrize("stream", [False, True])
def test_the_simulated_device_gives_the_engines_tokens(device, model, stream):
    asked = {"prompt": "It was", "max_tokens": 5, "seed": 3, "temperature": 0.9}
    found = device.ask(**asked, n=2, stream=stream)
    assert found.texts == [expected(model, **asked, stream=n).text for n in range(2)]
    health = device.http().get("/health").json()
    assert (health["device"], health["slots"]) == ("sim", 1)


@simulated
def test_a_prefix_is_restored_on_the_device(device, model):
    tokens = len(device.served.tokenizer.encode(PROMPT))
    assert tokens > 33
    for n in range(2):
        before = device.total("computed_tokens")
        assert device.ask(prompt=PROMPT, max_tokens=3).text == expected(model, PROMPT, 3).text
        assert device.total("computed_tokens") - before == (tokens + 2 if n == 0 else 3)


@simulated
def test_what_the_device_counted_is_told(device):
    device.ask(prompt="It", max_tokens=2)
    page = device.http().get("/metrics").text
    found = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(found['lightmamba_device_cycles_total{kind="multiplying"}']) > 1000
    assert float(found['lightmamba_device_cycles_total{kind="wait_memory"}']) > 0
    assert 'lightmamba_saturations_total{kind="residual"}' in found


@simulated
def test_a_device_that_fails_is_said_and_reset(device, model, monkeypatch):
    def broken():
        raise DeviceError("memory answered with an error")

    monkeypatch.setattr(device.served.backend._device, "wait", broken)
    refused = device.http().post("/v1/completions", json={"prompt": "It was"})
    assert refused.status_code == 503
    assert "memory answered with an error; the server goes on" in refused.json()["error"]["message"]
    monkeypatch.undo()
    wait_for(lambda: device.scheduler.running == 0)
    assert device.ask(prompt="It was", max_tokens=3).text == expected(model, "It was", 3).text


@simulated
def test_a_device_that_dies_in_mid_text_and_comes_back(made, model, monkeypatch):
    """A stream ends with an error and without [DONE]."""
    monkeypatch.setattr("lightmamba.serve.scheduler.FIRST_PAUSE", 0.01)
    there = threading.Event()
    there.set()

    def wait(device: SimDevice) -> int:
        if len(spent) == 10:  # the prompt has six tokens, one in a pass
            there.clear()
        spent.append(0)
        if not there.is_set():
            raise DeviceError("no interrupt in 5 s")
        return begun(device)

    def reset(device: SimDevice) -> None:
        if not there.is_set():
            raise DeviceError("the device does not drain")
        ended(device)

    def powered(*args: Any, **options: Any) -> Device:
        if not there.is_set():
            raise InputError("there is no device")
        return opened(*args, **options)

    spent: list[int] = []
    begun, ended, opened = SimDevice.wait, SimDevice.reset, open_named
    monkeypatch.setattr("lightmamba.serve.opened.open_named", powered)
    with running(open_served(made, device="sim")) as server:
        backend: Any = server.served.backend
        first, http = backend._device, server.http()
        monkeypatch.setattr(SimDevice, "wait", wait)
        monkeypatch.setattr(SimDevice, "reset", reset)
        asked = {"prompt": "It was", "max_tokens": 20, "stream": True}
        stream = http.post("/v1/completions", json=asked)
        lines = [line for line in stream.text.splitlines() if line]
        assert len(lines) > 1
        assert "no interrupt in 5 s" in lines[-1]
        assert "[DONE]" not in stream.text
        wait_for(lambda: server.scheduler.broken is not None)
        refused = http.post("/v1/completions", json={"prompt": "It was"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
        assert "no interrupt in 5 s, and it could not be set up again" in refused.text
        health = http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        there.set()
        wait_for(lambda: server.scheduler.broken is None)
        assert http.get("/health").status_code == 200
        assert backend._device is not first
        assert server.ask(prompt="It was", max_tokens=3).text == expected(model, "It was", 3).text


def test_the_engine_serves_a_build_too(made, model):
    with running(open_served(made)) as server:
        assert server.ask(prompt=PROMPT, max_tokens=8).text == expected(model, PROMPT, 8).text


def test_names_and_hashes(made, tmp_path):
    file = tmp_path / "some.model.safetensors"
    shutil.copy(demo_file(), file)
    first, build_ = open_served(file), open_served(made, name="mine")
    assert (first.name, build_.name) == ("some.model", "mine")
    assert first.fingerprint != build_.fingerprint
    assert first.model.stop_ids == (0,)
    assert open_served(file, slots=3).backend.slots == 3


def test_what_cannot_be_served(made, tmp_path):
    bare = tmp_path / "bare.safetensors"
    save(replace(load(demo_file()), tokenizer=None), bare)
    drawn = build(random_model(SHAPES["demo"], lazy=True), Target.load("tiny"), tmp_path / "drawn")
    cases: tuple[tuple[Path, dict[str, Any], str], ...] = (
        (bare, {}, "has no tokenizer, so text cannot be read"),
        (drawn.path, {}, "it has random weights and no tokenizer"),
        (tmp_path, {}, "is a folder, not a quantized file; make one with"),
        (tmp_path / "none", {}, "does not exist"),
        (demo_file(), {"device": "sim"}, "lightmamba compile"),
        (made, {"device": "abacus"}, "--device must be one of engine, sim, uio, "),
    )
    for path, options, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            open_served(path, **options)
