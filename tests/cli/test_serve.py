"""``lightmamba serve``: what is refused before anything is opened. The rest is in tests/serve."""

import pytest

from lightmamba.model.data import demo_file


def test_another_address_needs_a_key(run, monkeypatch, tmp_path):
    monkeypatch.delenv("LIGHTMAMBA_API_KEY", raising=False)
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.com"):
        refused = run("serve", demo_file(), "--host", host).refusal
        assert f"{host} can be reached from other computers, so it needs an API key" in refused
        assert "--api-key-file FILE, or set LIGHTMAMBA_API_KEY" in refused
    # With one, it goes on to the file.
    monkeypatch.setenv("LIGHTMAMBA_API_KEY", "a-key-of-ours")
    assert "does not exist" in run("serve", tmp_path / "none.st", "--host", "0.0.0.0").refusal


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_computer_needs_none(run, monkeypatch, tmp_path, host):
    monkeypatch.delenv("LIGHTMAMBA_API_KEY", raising=False)
    assert "does not exist" in run("serve", tmp_path / "none.st", "--host", host).refusal


@pytest.mark.parametrize("key", ["", "short", "two words of it", "schlüssel-wort", "a\x07aaaaaaaa"])
def test_a_key_must_be_one(run, tmp_path, monkeypatch, key):
    file = tmp_path / "key"
    file.write_text(key + "\n", encoding="utf-8")
    words = ("serve", demo_file(), "--host", "0.0.0.0")
    assert "must be one word of 8 or more" in run(*words, "--api-key-file", file).refusal
    monkeypatch.setenv("LIGHTMAMBA_API_KEY", key)
    assert "LIGHTMAMBA_API_KEY must be one word of 8 or more" in run(*words).refusal


def test_a_key_file_that_cannot_be_read(run, tmp_path):
    words = ("serve", demo_file(), "--api-key-file")
    assert "cannot be read: No such file" in run(*words, tmp_path / "none").refusal
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff\xfe")
    assert "cannot be read: it is not text" in run(*words, tmp_path / "bytes").refusal


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--port", "65536"), "--port must be from 0 to 65535, not 65536; try 8000"),
        (("--memory-mb", "0"), "--memory-mb must be at least 1, not 0; try 1024"),
        (("--slots", "0"), "--slots must be at least 1, not 0"),
        (("--queue", "0"), "--queue must be at least 1, not 0"),
        (("--max-requests", "0"), "--max-requests must be at least 1, not 0"),
        (("--max-body", "-1"), "--max-body must be at least 1, not -1"),
        (("--request-seconds", "nan"), "--request-seconds must be above 0, not nan"),
        (("--grace-seconds", "-1"), "--grace-seconds must not be negative"),
        (("--cache-mb", "-1"), "--cache-mb must not be negative, not -1"),
        (("--device", "abacus"), "--device"),
    ],
)
def test_limits_out_of_range(run, flags, sentence):
    assert sentence in run("serve", demo_file(), *flags).refusal


def test_a_port_that_is_taken(run):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", demo_file(), "--port", port).refusal
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in refused
    assert f"give another --port, such as {port + 1}" in refused


def test_a_model_without_a_tokenizer(run, world):
    assert "has no tokenizer, so text cannot be read" in run("serve", world.plain_file).refusal
