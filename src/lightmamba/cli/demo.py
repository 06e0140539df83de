"""``lightmamba demo``: quantize the bundled model, measure it, let it write, run it in gates."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["add_arguments", "run"]

RECIPES = ("w8a8", "w4a8", "w4a4")
TOKENS = 8208  # the fixed slice of the unseen text: eight windows and 16 tokens, 8,199 scored
PROMPT = "It is a truth universally acknowledged, that"
SEQUENCES = 24  # of calibration: enough for this small model, and quick


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-tokens", type=int, default=120, help="of the passage (120)")
    parser.add_argument("--gate-tokens", type=int, default=8, help="simulated; 0 for none (8)")


def _pass_on(bar: Callable[[float, float], None], _: str, done: float, total: float) -> None:
    bar(done, total)


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from lightmamba.checkpoint import load_checkpoint
    from lightmamba.cli.demo_gates import run_gates
    from lightmamba.cli.show import console, progress, table
    from lightmamba.data import austen, demo_checkpoint
    from lightmamba.engine import Engine
    from lightmamba.evaluate import compare, perplexity
    from lightmamba.numerics.sampling import SamplingOptions
    from lightmamba.quantize import Calibration, Recipe, quantize_checkpoint
    from lightmamba.reference import FloatModel
    from lightmamba.runtime import generate
    from lightmamba.tokenizer import Tokenizer

    start = time.perf_counter()
    torch.set_num_threads(args.threads)
    checkpoint = load_checkpoint(demo_checkpoint())
    assert checkpoint.tokenizer is not None
    tokenizer = Tokenizer.from_bytes(checkpoint.tokenizer)
    ids = tokenizer.encode(austen()[2])[:TOKENS]
    size = len(tokenizer.decode(ids).encode())
    reference = FloatModel(checkpoint.model, checkpoint.valid_vocab)
    with progress("float checkpoint") as bar:
        base = perplexity(reference, ids, text_bytes=size, threads=args.threads, progress=bar)
    rows: list[tuple[object, ...]] = [
        ("float", base.perplexity, base.standard_error, base.bits_per_byte, 1.0, 0.0, 1.0)
    ]
    found, errors = {"float": base.perplexity}, {"float": base.standard_error}
    overflows, agreement = {}, {}
    for name in RECIPES:
        fresh = load_checkpoint(demo_checkpoint())
        with progress(f"quantizing to {name}") as bar:
            model = quantize_checkpoint(
                fresh, Recipe.load(name), Calibration(sequences=SEQUENCES), threads=args.threads,
                progress=partial(_pass_on, bar),
            )  # fmt: skip
        engine = Engine(model, threads=args.threads)
        with progress(f"{name} in exact integers") as bar:
            both = compare(
                engine, reference, ids, text_bytes=size, threads=args.threads, progress=bar
            )
        got = both.model
        found[name], errors[name] = got.perplexity, got.standard_error
        agreement[name] = both.top1_agreement
        overflows[name] = sum(v for k, v in engine.counters.items() if k != "clipped")
        rows.append(
            (name, got.perplexity, got.standard_error, got.bits_per_byte, both.ratio, both.kl,
             both.top1_agreement)
        )  # fmt: skip
    if not args.json:
        header = ("", "perplexity", "±", "bits/byte", "x float", "KL, nats", "top-1 agreement")
        table(f"unseen Jane Austen, {base.tokens:,} tokens", header, rows)
        console.print("The w4a4 model goes on, in exact integers:\n")
    text = PROMPT
    if not args.json:
        print(PROMPT, end="", flush=True)
    sampling = SamplingOptions(temperature=0.8, top_p=0.9, seed=1)
    for step in generate(
        engine, tokenizer.encode(PROMPT), max_tokens=args.max_tokens, sampling=sampling,
        tokenizer=tokenizer,
    ):  # fmt: skip
        text += step.text
        if not args.json:
            print(step.text, end="", flush=True)
    if not args.json:
        print(flush=True)
    gates = run_gates(args.gate_tokens, quiet=args.json) if args.gate_tokens > 0 else {}
    seconds = time.perf_counter() - start
    if not args.json:
        console.print(f"\n{seconds:.0f} seconds in all.")
    return {
        "perplexity": found,
        "standard_error": errors,
        "top1_agreement": agreement,
        "overflows": overflows,
        "tokens": base.tokens,
        "text": text,
        "seconds": seconds,
        **gates,
        "exit_status": int(gates.get("tokens_match") is False),
    }
