"""Clients share passes of the simulated machine of four tokens."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.target import Target, target_names
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import save
from lightmamba.serve import open_served
from tests.serve.running import expected, running

pytestmark = [
    pytest.mark.slow,  # nearly all of it is the build of the simulator
    pytest.mark.board,
    pytest.mark.skipif(
        shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
    ),
    pytest.mark.skipif("tiny-t4" not in target_names(), reason="there is no target tiny-t4"),
]


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    folder, target = tmp_path_factory.mktemp("build"), Target.load("tiny-t4")
    small = replace(target.machine, state_elements=16, state_port_bits=64)
    save(model, folder / "m.safetensors")
    return build(
        model, replace(target, machine=small), folder / "demo", source=folder / "m.safetensors"
    ).path


def request(n: int) -> dict[str, Any]:
    return {
        "prompt": ("It was", "She had not", "A truth", "He")[n], "max_tokens": 5 + n % 2,
        "temperature": (0, 0.9)[n % 2], "seed": n,
    }  # fmt: skip


def ask(client: Any, n: int) -> str:
    return str(client.completions.create(model="demo", **request(n)).choices[0].text)


def wanted(model: Any, n: int) -> str:
    asked = request(n)
    return expected(model, asked.pop("prompt"), asked.pop("max_tokens"), **asked).text


def test_four_clients_share_passes(made, model):
    with running(open_served(made, device="sim")) as server:
        client = server.client(timeout=600)
        with ThreadPoolExecutor(4) as pool:
            texts = list(pool.map(lambda n: ask(client, n), range(4)))
        assert server.http().get("/health").json()["slots"] == 4
        passes, tokens = server.total("passes"), server.total("computed_tokens")
    assert texts == [wanted(model, n) for n in range(4)]
    assert passes < 0.6 * tokens


def test_a_client_with_drafts(made, model):
    """Drafts of the same model on the engine: all are right."""
    served = open_served(made, device="sim", slots=2, speculate=str(demo_file()))
    with running(served) as server:
        assert ask(server.client(timeout=600), 1) == wanted(model, 1)
        assert server.served.backend.slots == 2
        drafts, right = server.total("drafted_tokens"), server.total("accepted_tokens")
    assert right == drafts
