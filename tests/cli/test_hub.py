"""Hub ids in the place of a quantized file."""

import pytest

from lightmamba.cli import hub
from lightmamba.facade import quantize as real
from lightmamba.model.qmodel import load

COMMIT = "0123456789abcdef0123"


@pytest.fixture
def someone(monkeypatch, tmp_path, world):
    """A hub that has one model; which commit it was asked for, and where it was written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_newest_commit", lambda name: COMMIT)
    made = []

    def quantize(name, file, *, revision, **options):
        made.append((name, revision, file))
        return real(world.worded, file, sequences=2, seqlen=32, **options)

    monkeypatch.setattr("lightmamba.facade.quantize", quantize)
    monkeypatch.setattr(hub, "_download", lambda name, commit: None)
    return made


def test_a_hub_id_is_quantized_once(run, world, monkeypatch, someone):
    words = ("--prompt", "It was", "--max-tokens", "6", "--threads", "1", "--json")
    first = run("generate", "someone/a-model", *words)
    assert first.status == 0
    assert "someone/a-model is quantized with w4a4, once, and cached" in first.err
    again = run("generate", "someone/a-model", *words)
    assert again.err == ""
    assert again.json["token_ids"] == first.json["token_ids"]
    monkeypatch.setattr(hub, "_newest_commit", lambda name: None)  # without the network
    assert run("generate", "someone/a-model", *words).json["token_ids"] == first.json["token_ids"]
    ((name, revision, file),) = someone
    assert (name, revision) == ("someone/a-model", COMMIT)
    assert file.name.startswith("someone--a-model-0123456789ab-w4a4-")
    assert load(file).config.d_model == load(world.worded_file).config.d_model


def test_what_is_no_hub_id_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"")
    for name in ("m.safetensors", "a/m.safetensors", "a/b", "/a/b", "../a/c", "a/b/c"):
        assert hub.quantized_file(name, 1) == name
