"""Training from plain text: every kind of layer learns, and a run goes on where it ended."""

from dataclasses import replace

import pytest
import torch

from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import load_checkpoint, save_checkpoint
from lightmamba.model.train import Balance, TrainOptions, initialize, train

OPTIONS = TrainOptions(
    d_model=32, layers="M-*-", d_hidden=32, n_heads=2, n_kv_heads=1, n_experts=4, top_k=2,
    d_expert=16, n_shared=1, vocab_size=280, steps=4, batch=2, seqlen=32,
)  # fmt: skip
TEXT = "It is a truth universally acknowledged, that a single man must be in want of a wife. " * 40


@pytest.mark.parametrize("layers", ["MM", "M-*-", "ME*E"])
def test_a_run_goes_on_where_it_ended(tmp_path, layers):
    options = replace(OPTIONS, layers=layers)
    whole = train(TEXT, "", tmp_path / "whole", options, compiled=False)
    train(TEXT, "", tmp_path / "parts", replace(options, steps=2), compiled=False)
    parts = train(TEXT, "", tmp_path / "parts", options, compiled=False)
    first = CausalLM(options.config)
    initialize(first, options.seed)
    for (name, before), after in zip(first.named_parameters(), whole.parameters(), strict=True):
        assert not torch.equal(before, after), name
    for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_trained_model_is_saved_with_its_tokenizer(tmp_path):
    options = replace(OPTIONS, layers="ME*E", steps=1)
    model = train(TEXT, "", tmp_path, options, compiled=False)
    save_checkpoint(model, tmp_path / "saved", tokenizer=tmp_path / "tokenizer.json")
    found = load_checkpoint(tmp_path / "saved")
    assert found.config == options.config
    assert found.tokenizer == (tmp_path / "tokenizer.json").read_bytes()


def test_loss_of_unequal_choices():
    """One where all experts are chosen equally, their number over top_k where always the same."""
    model = CausalLM(replace(OPTIONS, layers="E").config)
    initialize(model, 0)
    balance, router = Balance(model), model.layers[0].mixer.router
    assert balance.take() == 0
    with torch.no_grad():
        router.weight.copy_(torch.eye(4, 32))
        router(torch.eye(4, 32))
        torch.testing.assert_close(balance.take(), torch.tensor(1.0))
        router(torch.tensor([[50.0, 50.0, *[0.0] * 30]] * 3))
    torch.testing.assert_close(balance.take(), torch.tensor(2.0))
