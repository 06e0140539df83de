"""Hub ids in the place of a quantized file."""

from lightmamba.cli import hub
from lightmamba.facade import quantize as real
from lightmamba.qmodel import load


def test_a_hub_id_is_quantized_once(run, world, monkeypatch, tmp_path):
    """The text is that of the file which quantize makes of the same checkpoint."""
    from lightmamba.checkpoint import hub as downloads
    from lightmamba.checkpoint.hub import LocalCopy

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copy = LocalCopy(world.worded, "0123456789abcdef0123")
    monkeypatch.setattr(downloads, "local_copy", lambda name, revision=None: copy)
    made = []

    def quantize(name, file, **options):
        made.append((name, file))
        return real(world.worded, file, sequences=2, seqlen=32, **options)

    monkeypatch.setattr("lightmamba.facade.quantize", quantize)
    words = ("--prompt", "It was", "--max-tokens", "6", "--threads", "1", "--json")
    first = run("generate", "someone/a-model", *words)
    assert first.status == 0
    assert "someone/a-model is quantized by w4a4 and kept" in first.err
    again = run("generate", "someone/a-model", *words)
    assert again.err == ""
    assert again.json["token_ids"] == first.json["token_ids"]
    ((name, file),) = made
    assert name == "someone/a-model"
    assert file.name.startswith("someone--a-model-0123456789ab-w4a4-")
    assert load(file).config.d_model == load(world.worded_file).config.d_model


def test_what_is_no_hub_id_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"")
    for name in ("m.safetensors", "a/m.safetensors", "a/b", "/a/b", "../a/c", "a/b/c"):
        assert hub.quantized_file(name, 1) == name
