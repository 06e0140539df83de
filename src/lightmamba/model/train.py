"""Train a small language model from plain text: ``python -m lightmamba.model.train --help``.

Plain training: cross-entropy, dropout, Muon for the matrices of the layers and AdamW for the rest,
a learning rate that warms up, stays, and falls linearly to zero. Nothing here knows of
quantization. A run is resumed from its output folder; the batch of a step depends on the seed and
the step alone.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from tqdm import tqdm

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import save_checkpoint
from lightmamba.model.checkpoint.save import config_json
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.data import split_heldout

__all__ = ["TrainOptions", "initialize", "train", "train_tokenizer"]


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a run; a folder is resumed only with the same ones, except for ``steps``."""

    d_model: int = 256
    layers: str = "MMMMMM"  # M is a Mamba2 layer, * attention, - a gated MLP, E experts
    d_hidden: int = 640  # of an MLP
    n_experts: int = 16
    top_k: int = 4  # experts of a token
    d_expert: int = 64  # hidden channels of an expert, and of a block that every token takes
    n_shared: int = 2  # of these blocks
    balance: float = 0.01  # factor of the load-balancing loss
    n_heads: int = 4  # of attention, of d_model / n_heads channels
    n_kv_heads: int = 2
    vocab_size: int = 2048
    steps: int = 6000
    decay: float = 0.4  # share of the steps in which the learning rate falls to zero
    batch: int = 4
    seqlen: int = 1024
    lr: float = 4e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    extra_share: float = 0.2  # share of the windows drawn from the extra texts
    seed: int = 1

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model.

        Raises
        ------
        ValueError
            If there is no such sequence of layers.
        """
        plain = mamba2_config(self.d_model, 1, self.vocab_size)
        head_dim = max(1, self.d_model // self.n_heads)
        experts = self.n_experts, self.top_k, self.d_expert, self.n_shared
        make: dict[str, Callable[[], Sizes]] = {
            "M": lambda: plain.layers[0],
            "*": lambda: kind("attention").Sizes(self.n_heads, self.n_kv_heads, head_dim),
            "-": lambda: kind("mlp").Sizes(self.d_hidden),
            "E": lambda: kind("experts").Sizes(*experts),
        }
        if not self.layers or set(self.layers) - set(make):
            raise ValueError(
                f'layers must be of {", ".join(make)}, like "M-M-*-", not {self.layers}'
            )
        sizes = {letter: make[letter]() for letter in set(self.layers)}
        return replace(plain, layers=tuple(sizes[letter] for letter in self.layers))


def train_tokenizer(text: str, vocab_size: int) -> Tokenizer:
    """Byte-level BPE with one special token, ``<|endoftext|>``, as id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def initialize(model: CausalLM, seed: int) -> None:
    """Fill the parameters, each mixer as its kind does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.embedding.weight.normal_(0, 0.02, generator=generator)
        for layer in model.layers:
            layer.mixer.initialize(generator)
            layer.mixer.out_proj.weight.div_(math.sqrt(model.config.n_layer))


class Windows:
    """Random windows of token ids; which ones depends on the seed and the step alone."""

    def __init__(self, main: NDArray[np.int64], extra: NDArray[np.int64], o: TrainOptions) -> None:
        self.main, self.extra, self.options = main, extra, o

    def __call__(self, step: int) -> Tensor:
        o = self.options
        rng = np.random.default_rng((o.seed, step))
        rows = []
        for _ in range(o.batch):
            use_extra = len(self.extra) > o.seqlen and rng.random() < o.extra_share
            ids = self.extra if use_extra else self.main
            start = rng.integers(len(ids) - o.seqlen)
            rows.append(ids[start : start + o.seqlen + 1])
        return torch.from_numpy(np.stack(rows))


def learning_rate(step: int, o: TrainOptions) -> float:
    """Factor of the peak: 100 steps up, level, then down to zero over the last ``decay``."""
    falling = max(1, int(o.steps * o.decay))
    return min(1.0, (step + 1) / 100, max(0.0, (o.steps - step) / falling))


def optimizers(model: CausalLM, o: TrainOptions) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    matrices = [p for n, p in model.named_parameters() if "_proj" in n]
    plain = [p for n, p in model.named_parameters() if "_proj" not in n and p.ndim == 1]
    tables = [p for n, p in model.named_parameters() if "_proj" not in n and p.ndim > 1]
    muon = torch.optim.Muon(
        matrices, lr=o.lr, weight_decay=o.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    groups: list[dict[str, Any]] = [{"params": plain, "weight_decay": 0.0}, {"params": tables}]
    adamw = torch.optim.AdamW(groups, lr=o.lr, betas=(0.9, 0.98), weight_decay=o.weight_decay)
    return [muon, adamw]


class Balance:
    """Load-balancing loss (Switch Transformer, arXiv 2101.03961).

    Of each layer, n_experts · Σ f·p: of every expert the share f of the choices, and its mean
    probability p. It is one if all are chosen equally.
    """

    def __init__(self, model: CausalLM) -> None:
        self._layers: list[Tensor] = []
        self._hooks = [
            layer.mixer.router.register_forward_hook(
                lambda _, __, scores, k=layer.mixer.sizes.top_k: self._add(scores, k)
            )
            for layer in model.layers if layer.mixer.sizes.routed
        ]  # fmt: skip

    def remove(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _add(self, scores: Tensor, top_k: int) -> None:
        chosen = scores.topk(top_k, -1).indices.flatten()
        count = scores.shape[-1]
        share = F.one_hot(chosen, count).float().mean(0)
        mean = (scores.float() * math.log(2)).softmax(-1).mean(0)  # scores are exponents of two
        self._layers.append(count * (share * mean).sum())

    def take(self) -> Tensor:
        """Mean over the layers since the last call; zero if there are none."""
        loss = torch.stack(self._layers).mean() if self._layers else torch.zeros(())
        self._layers.clear()
        return loss


@torch.no_grad()
def bits_per_byte(model: nn.Module, ids: NDArray[np.int64], text_bytes: int, seqlen: int) -> float:
    """Bits per byte of a text in windows of ``seqlen``, state reset at each."""
    total = 0.0
    model.eval()
    for start in range(0, len(ids) - 1, seqlen):
        window = torch.from_numpy(ids[start : start + seqlen])[None]
        logits, _ = model(window[:, :-1])
        total += F.cross_entropy(logits[0].float(), window[0, 1:], reduction="sum").item()
    model.train()
    return total / math.log(2) / text_bytes


def train(main: str, extra: str, out: Path, options: TrainOptions, *, compiled: bool) -> CausalLM:
    """Train in the folder ``out``, resuming what lies there, and return the model."""
    out.mkdir(parents=True, exist_ok=True)
    training, validation, _ = split_heldout(main)
    file = out / "tokenizer.json"
    if not file.exists():
        train_tokenizer(training, options.vocab_size).save(str(file))
    tokenizer = Tokenizer.from_file(str(file))
    main_ids, valid_ids, extra_ids = (
        np.array(tokenizer.encode(text).ids, dtype=np.int64)
        for text in (training, validation, extra)
    )
    model = CausalLM(options.config)
    initialize(model, options.seed)
    for layer in model.layers:
        drop = nn.Dropout(options.dropout)
        layer.mixer.register_forward_hook(lambda _, __, y, drop=drop: (drop(y[0]), y[1]))
        layer.mixer.dropout = drop  # so that train() and eval() reach it
    balance = Balance(model)
    routed = [layer.mixer for layer in model.layers if layer.mixer.sizes.routed and compiled]
    for mixer in routed:  # torch would compile it again for each number of tokens of an expert
        mixer.forward = torch.compiler.disable(mixer.forward)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(main_ids):,} + {len(extra_ids):,} tokens", flush=True)

    steps = optimizers(model, options)
    windows, begin, state_file = Windows(main_ids, extra_ids, options), 0, out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        same = replace(TrainOptions(**state["options"]), steps=options.steps, decay=options.decay)
        if same != options:
            raise SystemExit(f"{state_file} was made with other options: {state['options']}")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(steps, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        begin = state["step"]

    def save(step: int) -> None:
        aside = state_file.with_suffix(".tmp")
        torch.save(
            {
                "step": step,
                "options": asdict(options),
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in steps],
            },
            aside,
        )
        aside.replace(state_file)

    forward = torch.compile(model, dynamic=False) if compiled else model
    bar = tqdm(range(begin, options.steps), initial=begin, total=options.steps, unit="step")
    for step in bar:
        torch.manual_seed(options.seed * 1_000_003 + step)
        ids = windows(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=compiled):
            logits, _ = forward(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        (loss + options.balance * balance.take()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steps:
            for group in optimizer.param_groups:
                group["lr"] = options.lr * learning_rate(step, options)
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            save(step + 1)
            bits = bits_per_byte(model, valid_ids, len(validation.encode()), options.seqlen)
            balance.take()
            tqdm.write(f"step {step + 1}: validation {bits:.4f} bits per byte", file=sys.stderr)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": step + 1, "bits_per_byte": bits}) + "\n")
    balance.remove()
    for mixer in routed:
        del mixer.forward
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(prog="lightmamba.model.train", description=__doc__)
    parser.add_argument("text", type=Path, help="main text; its last 3 %% stay unseen")
    parser.add_argument("--extra", type=Path, help="more text, mixed in")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--compile", action="store_true", help="torch.compile and bfloat16")
    for name, default in asdict(TrainOptions()).items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help=f"({default})")
    given = vars(parser.parse_args())
    text, extra, out, compiled = (given.pop(k) for k in ("text", "extra", "out", "compile"))
    options = TrainOptions(**given)
    try:
        config_json(options.config)  # so that it can be saved
    except ValueError as error:
        parser.error(str(error))
    more = extra.read_text(encoding="utf-8") if extra else ""
    model = train(text.read_text(encoding="utf-8"), more, out, options, compiled=compiled)
    save_checkpoint(model, out / "checkpoint", tokenizer=out / "tokenizer.json")


if __name__ == "__main__":
    main()
