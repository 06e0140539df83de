"""Training from plain text: every kind of layer learns, and a run goes on where it ended."""

from dataclasses import replace

import pytest
import torch

from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import load_checkpoint, save_checkpoint
from lightmamba.model.train import Balance, TrainOptions, initialize, train
from lightmamba.model.train import main as train_main

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


def test_load_balancing_loss():
    """Worked values of four experts, of which tokens take two."""
    model = CausalLM(replace(OPTIONS, layers="E").config)
    initialize(model, 0)
    balance, router = Balance(model), model.layers[0].mixer.router
    assert balance.take() == 0
    # Probabilities are 4/8, 2/8, 1/8, 1/8 of the experts in turn, so equal choices cost one.
    scores = torch.tensor([[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    with torch.no_grad():
        router.weight.zero_()[:, :4] = torch.eye(4)
        inputs = torch.nn.functional.pad(scores, (0, 28))
        router(inputs)
        torch.testing.assert_close(balance.take(), torch.tensor(1.0))
        router(inputs[:1])  # experts 0 and 1 only: 4 · (1/2 · 4/8 + 1/2 · 2/8)
        torch.testing.assert_close(balance.take(), torch.tensor(1.5))
        router(inputs[:1])
        router(inputs)
    torch.testing.assert_close(balance.take(), torch.tensor(1.25))  # the mean of both
    balance.remove()
    router(inputs)
    assert balance.take() == 0


def test_layers_that_no_layout_has_are_refused_before_the_run(monkeypatch, tmp_path, capsys):
    (text := tmp_path / "text.txt").write_text(TEXT)
    words = ["train", str(text), "-o", str(tmp_path / "run"), "--layers", "MEME"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        train_main()
    assert "a model can be saved in transformers' layout, if" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
