"""``lightmamba serve``: what is refused before anything is opened. The rest is in tests/serve."""

import shlex
import socket

import pytest

from lightmamba.model.data import demo_file

ANYWHERE = ("serve", demo_file(), "--host", "0.0.0.0")


def test_an_address_but_of_this_computer_needs_a_key(run, monkeypatch, tmp_path):
    monkeypatch.delenv("LIGHTMAMBA_API_KEY", raising=False)
    none = tmp_path / "none.st"
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.com"):
        refused = run("serve", none, "--host", host).refusal
        assert f"{host} can be reached from other computers, so it needs an API key" in refused
        assert "--api-key-file FILE, or set LIGHTMAMBA_API_KEY" in refused
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert "does not exist" in run("serve", none, "--host", host).refusal
    monkeypatch.setenv("LIGHTMAMBA_API_KEY", "a-key-of-ours")  # with one, it goes on to the file
    assert "does not exist" in run("serve", none, "--host", "0.0.0.0").refusal


def test_a_key_must_be_one(run, tmp_path, monkeypatch):
    file = tmp_path / "key"
    for key in ("", "short", "two words of it", "schlüssel-wort", "a\x07aaaaaaaa"):
        file.write_text(key + "\n", encoding="utf-8")
        refused = run(*ANYWHERE, "--api-key-file", file).refusal
        assert "must be one word of 8 or more" in refused
        monkeypatch.setenv("LIGHTMAMBA_API_KEY", key)
        assert "LIGHTMAMBA_API_KEY must be one word of 8 or more" in run(*ANYWHERE).refusal
    file.write_bytes(b"\xff\xfe\xff\xfe")
    for path, why in ((file, "it is not text"), (tmp_path / "none", "No such file")):
        refused = run(*ANYWHERE, "--api-key-file", path).refusal
        assert f"cannot be read: {why}" in refused


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--port 65536", "--port must be from 0 to 65535, not 65536; try 8000"),
        ("--slots 0", "--slots must be at least 1, not 0"),
        ("--queue 0", "--queue must be at least 1, not 0"),
        ("--request-seconds nan", "--request-seconds must be above 0, not nan"),
        ("--grace-seconds -1", "--grace-seconds must not be negative"),
        ("--cache-mb -1", "--cache-mb must not be negative, not -1"),
    ],
)
def test_limits_out_of_range(run, flags, sentence):
    assert sentence in run("serve", demo_file(), *shlex.split(flags)).refusal


def test_a_port_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", demo_file(), "--port", port).refusal
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in refused
    assert f"give another --port, such as {port + 1}" in refused
