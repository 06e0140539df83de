"""Saved checkpoints: transformers loads them, and so do we; an old one survives a failure."""

import math
import os
import resource
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint, save_checkpoint

from ..support.builders import write_tokenizer
from ..support.checkpoints import UNTIED, float_model
from ..support.layers import resized

MLP = kind("mlp").Sizes(96)
EXPERTS = kind("experts").Sizes(n_experts=6, top_k=2, d_hidden=48, n_shared=2)
ATTENTION = kind("attention").Sizes(n_heads=4, n_kv_heads=2, head_dim=16)
CONFIGS = {
    "untied, one group": UNTIED,
    "tied, two groups, no conv bias": resized(
        UNTIED, tie_embeddings=True, ngroups=2, conv_bias=False, dt_limit=(0.01, 0.1), eps=1e-3
    ),
    "lower limit only": resized(
        UNTIED, dt_limit=(0.01, math.inf), expand=4, d_conv=3, chunk_size=5
    ),
}


HYBRIDS = {
    f"{name}, tied {tied}": replace(
        UNTIED, tie_embeddings=tied, layers=(UNTIED.layers[0], behind, ATTENTION, behind)
    )
    for name, behind, tied in (("MLPs", MLP, True), ("experts", EXPERTS, False))
}  # fmt: skip


@pytest.mark.parametrize("config", [*CONFIGS.values(), *HYBRIDS.values()], ids=[*CONFIGS, *HYBRIDS])
def test_transformers_loads_it(tmp_path, config):
    from transformers import AutoModelForCausalLM

    save_checkpoint(float_model(config, dtype=torch.bfloat16), tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    theirs, report = loaded
    assert not any(report.values()), report
    ours = load_checkpoint(tmp_path)
    assert ours.config == config
    assert ours.special_ids == {"bos": 0, "eos": 0, "pad": 0}
    generation = theirs.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (0, 0, 0)
    ids = torch.arange(21)[None] % config.vocab_size
    with torch.no_grad():
        expected = theirs.eval()(ids).logits
    actual, _ = ours.model(ids)
    atol = 1e-4 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def test_bf16_and_back(tmp_path):
    """Each weight comes back rounded to bf16; the file holds nothing wider."""
    model = float_model()
    save_checkpoint(model, tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = file.keys()
        assert {file.get_slice(name).get_dtype() for name in names} == {"BF16"}
    back = load_checkpoint(tmp_path).model
    for (name, saved), loaded in zip(model.named_parameters(), back.parameters(), strict=True):
        torch.testing.assert_close(loaded, saved.bfloat16().float(), rtol=0, atol=0, msg=name)


def test_same_model_same_bytes(tmp_path):
    for folder in ("one", "two"):
        save_checkpoint(float_model(), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_files(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "source.json", 60)
    save_checkpoint(float_model(), tmp_path / "new" / "folder", tokenizer=tokenizer)
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
    }
    found = load_checkpoint(tmp_path / "new" / "folder")
    assert (found.tokenizer, found.valid_vocab) == (tokenizer.read_bytes(), 60)


def test_tokenizer_of_another_vocabulary(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "source.json", 65)
    with pytest.raises(InputError, match="65 ids but the model has 64"):
        save_checkpoint(float_model(), tmp_path / "out", tokenizer=tokenizer)
    assert not (tmp_path / "out").exists()


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"cannot write a checkpoint to .*out: "):
        save_checkpoint(float_model(), tmp_path / "out")


@pytest.fixture
def small_files():
    """No file may grow beyond 1,000 bytes, as on a disk that is full."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def old_files(tmp_path):
    save_checkpoint(float_model(seed=1), tmp_path)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_full_disk_leaves_the_old_files(tmp_path, old_files, small_files):
    with pytest.raises(InputError, match="cannot write a checkpoint"):
        save_checkpoint(float_model(seed=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old_files


def test_failure_after_the_weights_leaves_the_old_files(tmp_path, old_files):
    """A device that is always full stands where the config is written aside."""
    os.symlink("/dev/full", tmp_path / ".config.json.part")
    with pytest.raises(InputError, match="cannot write a checkpoint"):
        save_checkpoint(float_model(seed=2), tmp_path)
    (tmp_path / ".config.json.part").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old_files


def test_every_file_has_the_same_mode(tmp_path, old_files):
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
