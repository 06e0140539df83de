"""Does the quantized state drift? Loss against float by position, over 10,000-token streams.

    python -m bench.drift        # 32 streams of 10,000 tokens, half an hour on two cores

Part one runs the bundled model, W4A4 or by another recipe, with four formats of the state. Part two
drives one head of the state-space step with decays down to dt·A = 1e-4 against float64, where plain
rounding sticks.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import bundled, encode
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate.logprobs import likelihoods
from lightmamba.evaluate.model import pieces
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.ssm import SsmStep
from lightmamba.quantization import Recipe, quantize_checkpoint

FORMATS = {"8, dither": (8, "dither"), "8, half up": (8, "half_up"),
           "12, half up": (12, "half_up"), "16, half up": (16, "half_up")}  # fmt: skip
SPAN = 1000  # tokens of a position range


def losses(model: Any, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log-likelihood (streams, seqlen - 1) of every token after the first."""
    out = np.empty((len(ids), ids.shape[1] - 1))
    for span, (logits,) in pieces([model], ids[:, :-1]):
        flat, targets = logits.reshape(-1, logits.shape[-1]), ids[:, 1:][:, span]
        out[:, span] = likelihoods(model, flat, targets.ravel()).nll.reshape(targets.shape)
    return out


def by_position(excess: NDArray[np.float64]) -> list[dict[str, float]]:
    """Perplexity over float's in each range of 1,000 positions; standard error over streams."""
    rows = []
    for start in range(0, excess.shape[1] - SPAN // 2, SPAN):
        means = excess[:, start : start + SPAN].mean(1)
        ratio = float(np.exp(means.mean()))
        error = ratio * float(means.std(ddof=1) / np.sqrt(len(means)))
        rows.append({"start": start, "ratio": ratio, "standard_error": error})
    return rows


def change(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Ratio of the last thousand over that of the first, minus 1, and its standard error."""
    moved = excess[:, -SPAN:].mean(1) - excess[:, :SPAN].mean(1)
    return float(np.expm1(moved.mean())), float(moved.std(ddof=1) / np.sqrt(len(moved)))


def real_model(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part one, format by format."""
    ids, _ = encode(0, 3_900_000)
    starts = np.linspace(0, len(ids) - args.length, args.streams).astype(np.int64)
    text = np.stack([ids[s : s + args.length] for s in starts])
    checkpoint = bundled()
    base = losses(FloatModel(checkpoint.model, checkpoint.valid_vocab), text)
    model: QuantizedModel = quantize_checkpoint(
        bundled(), Recipe.load(args.recipe), threads=args.threads
    )
    for name in args.states:
        bits, rounding = FORMATS[name]
        formats = replace(model.formats, state_bits=bits, state_rounding=rounding)
        engine = Engine(replace(model, formats=formats), threads=args.threads)
        excess = losses(engine, text) - base
        moved, error = change(excess)
        yield {
            "recipe": args.recipe, "state": name, "by_position": by_position(excess),
            "change": moved, "standard_error": error, "overflows": engine.counters["ssm.h"],
        }  # fmt: skip


def slow_decay(tokens: int) -> Iterator[dict[str, Any]]:
    """Part two: SNR of y after the state has filled, by decay and format."""
    rng = np.random.default_rng(0)
    headdim, d_state = 16, 128
    for decay in (1e-1, 1e-2, 1e-3, 3e-4, 1e-4):
        a = round(np.exp(-decay) * 2**24)
        x = rng.integers(-100, 101, (tokens, headdim))
        B, C = (rng.integers(-100, 101, (tokens, 2, d_state // 2)).reshape(tokens, -1)
                for _ in range(2))  # fmt: skip
        x, B = x + 20, B + 20  # what a state is for: inputs with a mean that it can gather
        for name, (bits, rounding) in FORMATS.items():
            op = SsmStep(bits, 32, rounding)
            h = np.zeros((1, 1, headdim, d_state), dtype=np.int64)
            e = np.zeros((1, 1, headdim, d_state // 32), dtype=np.int64)
            real = np.zeros((headdim, d_state))
            signal = noise = 0.0
            for t in range(tokens):
                shift = np.zeros_like(e)
                h, e, _ = op.update(
                    h, e, np.array([[a]]), x[None, None, t], B[None, None, t], shift, np.array([t])
                )  # fmt: skip
                real = real * (a / 2**24) + x[t][:, None] * B[t][None]
                if t >= tokens - SPAN:
                    got = h[0, 0] * 2.0 ** np.repeat(e[0, 0], 32, axis=-1)
                    wanted = real @ C[t]
                    signal += float((wanted**2).sum())
                    noise += float(((got @ C[t] - wanted) ** 2).sum())
            snr = 10 * np.log10(signal / max(noise, 1e-300))
            yield {"decay": decay, "state": name, "snr_db": float(snr)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--length", type=int, default=10_001)
    parser.add_argument("--recipe", default="w4a4")
    parser.add_argument("--states", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--slow-tokens", type=int, default=10_000, help="of part two; 0: not run")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.slow_tokens:
        keep("slow_decay", *slow_decay(args.slow_tokens))
    for row in real_model(args):
        keep("drift", row, command=f"python -m bench.drift --recipe {args.recipe}")


if __name__ == "__main__":
    main()
