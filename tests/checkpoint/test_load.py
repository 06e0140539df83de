"""Whole folders in every layout and file format: the same weights, and what stands beside them."""

import hashlib
import json
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint, tensors

from ..support.builders import write_tokenizer
from ..support.checkpoints import UNTIED, write_state_spaces, write_transformers
from ..support.layers import resized

TIED = resized(UNTIED, tie_embeddings=True, ngroups=2, conv_bias=False)


def assert_same_weights(actual, expected):
    theirs = dict(expected.named_parameters())
    assert dict(actual.named_parameters()).keys() == theirs.keys()
    for name, parameter in actual.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("config", [UNTIED, TIED], ids=["untied", "tied"])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
def test_transformers_layout(tmp_path, config, pickled, sharded):
    expected = write_transformers(tmp_path, config, pickled=pickled, sharded=sharded)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config == config
    assert_same_weights(checkpoint.model, expected)
    tied = checkpoint.model.lm_head.weight is checkpoint.model.embedding.weight
    assert tied == config.tie_embeddings


@pytest.mark.parametrize("config", [UNTIED, TIED], ids=["untied", "tied"])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
def test_state_spaces_layout(tmp_path, config, pickled):
    expected = write_state_spaces(tmp_path, config, pickled=pickled, padding=5)
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint.config == config
    assert checkpoint.valid_vocab == config.vocab_size - 5
    assert_same_weights(checkpoint.model, expected)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
def test_stored_types(tmp_path, stored, pickled):
    expected = write_transformers(tmp_path, dtype=stored, pickled=pickled)
    model = load_checkpoint(tmp_path).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.parameters())
    assert_same_weights(model, expected)
    wide = load_checkpoint(tmp_path, dtype=torch.float64).model
    assert {p.dtype for p in wide.parameters()} == {torch.float64}
    assert_same_weights(wide.float(), expected)


def test_float64_weights_are_refused(tmp_path):
    write_transformers(tmp_path, dtype=torch.float64)
    with pytest.raises(InputError, match="F64; weights must be one of BF16, F16, F32"):
        load_checkpoint(tmp_path)


def test_dtype_must_be_floating(tmp_path):
    with pytest.raises(InputError, match=r"like torch\.float32, not torch\.int8"):
        load_checkpoint(tmp_path, dtype=torch.int8)


@pytest.mark.parametrize("sharded", [False, True])
def test_one_tensor_at_a_time(tmp_path, sharded, monkeypatch):
    """Of what was read before, nothing is alive when the next tensor is read."""
    write_transformers(tmp_path, sharded=sharded)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most: list[int] = []
    read = tensors._read_safetensors

    def watched(path, name, rows):
        most.append(len(alive))
        tensor = read(path, name, rows)
        alive.add(tensor)
        return tensor

    monkeypatch.setattr(tensors, "_read_safetensors", watched)
    model = load_checkpoint(tmp_path).model
    assert len(most) == len(list(model.parameters()))
    assert max(most) == 0


def test_source(tmp_path):
    write_transformers(tmp_path, sharded=True)
    (tmp_path / "README.md").write_text(
        "---\ntags:\n- ssm\nlicense: apache-2.0\n---\nlicense: no\n"
    )
    source = load_checkpoint(str(tmp_path)).source
    assert (source.name, source.revision, source.licence) == (str(tmp_path), None, "apache-2.0")
    weights = {path.name for path in tmp_path.glob("model-*.safetensors")}
    assert source.hashes.keys() == weights | {"config.json"}
    for name, digest in source.hashes.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        (None, "mit"),
        ("no front matter\nlicense: gpl\n", "mit"),
        ("---\r\nlicense: 'cc-by-4.0'\r\n---\r\n", "cc-by-4.0"),
    ],
)
def test_licence(tmp_path, readme, licence):
    write_state_spaces(tmp_path, license="mit")
    if readme is not None:
        (tmp_path / "README.md").write_bytes(readme.encode())
    assert load_checkpoint(tmp_path).source.licence == licence


def test_without_anything_beside_the_weights(tmp_path):
    write_state_spaces(tmp_path)
    found = load_checkpoint(tmp_path)
    assert (found.tokenizer, found.chat_template, found.source.licence) == (None, None, None)
    assert (found.generation_config, found.special_ids) == ({}, {})
    assert found.valid_vocab == UNTIED.vocab_size


def test_tokenizer_and_what_it_knows(tmp_path):
    write_state_spaces(tmp_path, padding=5)
    write_tokenizer(tmp_path / "tokenizer.json", 40)
    words = {"eos_token": {"content": "<|endoftext|>"}, "chat_template": "{{ messages }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(words))
    found = load_checkpoint(tmp_path)
    assert found.tokenizer == (tmp_path / "tokenizer.json").read_bytes()
    assert found.valid_vocab == 40
    assert found.special_ids == {"eos": 0}
    assert found.chat_template == "{{ messages }}"
    (tmp_path / "chat_template.jinja").write_text("{{ other }}")
    assert load_checkpoint(tmp_path).chat_template == "{{ other }}"


def test_named_chat_templates(tmp_path):
    write_state_spaces(tmp_path)
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert load_checkpoint(tmp_path).chat_template == "d"


def test_special_ids(tmp_path):
    """The generation config outweighs the config; ids outside the vocabulary mean none."""
    write_state_spaces(tmp_path, bos_token_id=7, eos_token_id=8, pad_token_id=UNTIED.vocab_size)
    generation = {"eos_token_id": [9, 10, 9, UNTIED.vocab_size, True], "temperature": 0.5}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    found = load_checkpoint(tmp_path)
    assert found.special_ids == {"bos": 7, "eos": [9, 10]}
    assert found.generation_config == generation


def test_given_tokenizer(tmp_path):
    """It serves a folder that has none, and outweighs one that is there."""
    write_state_spaces(tmp_path)
    given = write_tokenizer(tmp_path / "given.json", 50)
    assert load_checkpoint(tmp_path, tokenizer=given).valid_vocab == 50
    write_tokenizer(tmp_path / "tokenizer.json", 40)
    found = load_checkpoint(tmp_path, tokenizer=given)
    assert (found.valid_vocab, found.tokenizer) == (50, given.read_bytes())


def test_tokenizer_of_another_vocabulary(tmp_path):
    write_state_spaces(tmp_path)
    write_tokenizer(tmp_path / "tokenizer.json", UNTIED.vocab_size)
    assert load_checkpoint(tmp_path).valid_vocab == UNTIED.vocab_size
    write_tokenizer(tmp_path / "tokenizer.json", UNTIED.vocab_size + 1)
    with pytest.raises(InputError, match="has 65 ids but the model has 64: it belongs to another"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_broken_tokenizer(tmp_path, content):
    write_state_spaces(tmp_path)
    path = tmp_path / "my_tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"my_tokenizer\.json"):
        load_checkpoint(tmp_path, tokenizer=path)


def test_checkpoint_validates_itself(tmp_path):
    write_state_spaces(tmp_path)
    found = load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"valid_vocab must be in 1\.\.64, not 65"):
        Checkpoint(**(vars(found) | {"valid_vocab": 65}))


def test_a_tensor_is_that_of_the_shard_which_the_index_names(tmp_path):
    """Copies that were left over in other shards are not read."""
    expected = write_transformers(tmp_path, sharded=True)
    files = sorted(tmp_path.glob("*.safetensors"))
    stored = {file: load_file(file) for file in files}
    wrong = {name: t + 7 for each in stored.values() for name, t in each.items()}
    for file, own in stored.items():
        save_file(wrong | own, file)
    assert_same_weights(load_checkpoint(tmp_path).model, expected)
