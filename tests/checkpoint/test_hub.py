"""Folder or hub id, against a hub on this machine: commit, cache, offline, and what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.checkpoint.hub import local_copy

from ..support.builders import write_tokenizer
from ..support.checkpoints import write_state_spaces, write_transformers
from .fake_hub import COMMIT, REPO, serve


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = tmp_path / "served"
    write_transformers(folder)
    write_tokenizer(folder / "tokenizer.json", 60)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "training_args.bin").write_bytes(b"not needed")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries of a download
    with serve(folder) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def refusal(name=REPO, revision=None):
    with pytest.raises(InputError) as caught:
        local_copy(name, revision)
    sentence = str(caught.value)
    assert str(name) in sentence
    return sentence


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_hub_id(hub, revision):
    checkpoint = load_checkpoint(REPO, revision=revision)
    assert (checkpoint.source.name, checkpoint.source.revision) == (REPO, COMMIT)
    assert checkpoint.source.licence == "mit"
    assert checkpoint.valid_vocab == 60
    here = load_checkpoint(hub.folder)
    assert checkpoint.source.hashes == here.source.hashes
    assert hub.files_asked() == {
        *("config.json", "generation_config.json", "tokenizer.json", "README.md"),
        "model.safetensors",
    }


def test_safetensors_are_preferred_to_pickles(hub):
    (hub.folder / "pytorch_model.bin").write_bytes(b"not needed")
    local_copy(REPO)
    assert "model.safetensors" in hub.files_asked()
    assert "pytorch_model.bin" not in hub.files_asked()


def test_pickles_where_there_is_nothing_else(hub):
    for path in hub.folder.iterdir():
        path.unlink()
    expected = write_state_spaces(hub.folder)
    loaded = load_checkpoint(REPO).model
    assert (loaded.norm_f == expected.norm_f).all()
    assert hub.files_asked() == {"config.json", "pytorch_model.bin"}


@pytest.mark.parametrize("where", ["error", "file_error"])
def test_gated(hub, where):
    """Some gated models show their list of files and refuse the files."""
    setattr(hub, where, (403, "GatedRepo"))
    assert (
        "is gated on the hub; accept its terms on its page, then run `hf auth login`" in refusal()
    )


@pytest.mark.parametrize("error", [(404, "RepoNotFound"), (401, "")])
def test_not_found(hub, error):
    hub.error = error
    assert "is neither a folder here nor a public model on the hub" in refusal()
    assert "hf auth login" in refusal()


@pytest.mark.parametrize("where", ["error", "file_error"])
@pytest.mark.parametrize("status", [403, 500])
def test_hub_answers_with_an_error(hub, where, status):
    setattr(hub, where, (status, ""))
    assert f"the hub refuses it with status {status}; try again later" in refusal()


def test_download_breaks_off(hub):
    hub.cut = 100
    assert "could not be downloaded (" in refusal()


@pytest.mark.parametrize(
    "name", ["nowhere", "./no/where", "/no/where", "a/b/c", "~/nowhere", "owner/", Path("no/where")]
)
def test_no_such_folder(hub, name):
    with pytest.raises(InputError, match=r"there is no folder .*or a hub id"):
        local_copy(name)
    assert hub.asked == []


def test_environment(hub, tmp_path, monkeypatch):
    """HF_HOME and HF_HUB_OFFLINE are respected by a fresh process."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    local_copy(REPO)
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    program = f"from lightmamba.model.checkpoint.hub import local_copy; print(local_copy({REPO!r}))"
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert COMMIT in done.stdout, done.stderr


def test_a_copy_is_used(hub, monkeypatch):
    """Offline and without a network too."""
    first = local_copy(REPO)
    hub.asked.clear()
    assert local_copy(REPO) == first
    assert not any(path.endswith("model.safetensors") for path in hub.asked)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        hub.asked.clear()
        assert local_copy(REPO) == first
        assert hub.asked == []
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert local_copy(REPO) == first


def test_without_a_copy(hub, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE forbids the network; unset it" in refusal()
        assert hub.asked == []
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached; connect to the network" in refusal()


def test_a_folder(hub):
    copy = local_copy(str(hub.folder))
    assert (copy.folder, copy.revision) == (hub.folder, None)
    assert local_copy("served").folder == Path("served")
    assert "is a folder and has no revision 'main'" in refusal(hub.folder, "main")
    assert "is a file; give the folder" in refusal(hub.folder / "config.json")
    assert hub.asked == []
    assert "has no revision 'v9' on the hub; give a branch, a tag or a" in refusal(revision="v9")
