"""A model file that is changed while it is served."""

import shutil
from typing import Any

import numpy as np
import openai
import pytest

from lightmamba.engine import Engine
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import file, load
from lightmamba.serve import opened
from lightmamba.serve.opened import open_served
from tests.serve.running import running, wait_for

ASK: Any = {"prompt": "It is a truth", "max_tokens": 8}


@pytest.fixture
def path(tmp_path):
    return shutil.copy(demo_file(), tmp_path / "m.safetensors")


def spoil(path):
    """Write zeros over the second half of a file, then cut it short."""
    size = path.stat().st_size
    with path.open("r+b") as out:
        out.seek(size // 2)
        out.write(bytes(size - size // 2))
        out.flush()
        out.truncate(100)


def test_a_small_file_is_in_memory(path):
    """Weights that nobody has read yet are those of before."""
    wanted, engine = Engine(load(demo_file())), Engine(load(path))
    spoil(path)
    ids = np.array([[3, 4, 5, 200]])
    found, _ = engine.forward(ids, engine.empty_state(1))
    np.testing.assert_array_equal(found, wanted.forward(ids, wanted.empty_state(1))[0])
    assert open_served(demo_file()).written is None


@pytest.fixture
def large(path, monkeypatch):
    """A served model whose file is too large to be read whole."""
    for module in (file, opened):
        monkeypatch.setattr(module, "IN_MEMORY", 1 << 10)
    return open_served(path, name="demo")


def test_a_large_file_that_is_written_into_is_served_no_more(large, path):
    with running(large) as server:
        client, http = server.client(), server.http()
        assert server.ask(**ASK).text == server.ask(**ASK).text
        stream = client.completions.create(
            model="demo", prompt="It is a truth", max_tokens=2000, stream=True
        )
        next(stream)
        with path.open("r+b") as out:
            out.seek(-8, 2)
            out.write(bytes(8))
        sentence = "m.safetensors was written into while it was served; restart the server"
        for _ in range(2):
            with pytest.raises(openai.APIStatusError, match=sentence) as refused:
                server.ask(**ASK)
            assert refused.value.status_code == 503
        with pytest.raises(openai.APIError, match=sentence):
            list(stream)
        health = http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        wait_for(lambda: not server.scheduler.alive)


def test_a_large_file_may_be_replaced(large, path):
    """The file that is served stays open under no name."""
    other = path.with_name("other")
    other.write_bytes(b"another file")
    with running(large) as server:
        before = server.ask(**ASK).text
        other.replace(path)
        assert server.ask(**ASK).text == before
