"""``lightmamba generate``."""

import argparse
import time
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE or BUILD", help="quantized model, or a build")
    parser.add_argument("--device", choices=("engine", "sim"), default="engine",
                        help="what runs it: the integer engine, or simulated gates")  # fmt: skip
    parser.add_argument("--prompt", required=True, help="text to go on from")
    parser.add_argument("--max-tokens", type=int, default=100, help="(100)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest (0)")
    parser.add_argument("--top-k", type=int, default=0, help="only the K likeliest (all)")
    parser.add_argument("--top-p", type=float, default=1.0, help="only the likeliest P (1)")
    parser.add_argument("--min-p", type=float, default=0.0, help="at least P of the best (0)")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="(1)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text (0)")
    parser.add_argument("--stop", action="append", default=[], help="end at this text; repeatable")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.models import open_engine, tokenizer_of
    from lightmamba.cli.show import console
    from lightmamba.numerics.sampling import SamplingOptions
    from lightmamba.runtime import Generation, generate

    sampling = SamplingOptions(
        temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, min_p=args.min_p,
        repetition_penalty=args.repetition_penalty, seed=args.seed,
    )  # fmt: skip
    opened = (
        _open_simulated(args.file) if args.device == "sim" else open_engine(_model(args.file), 1)
    )
    engine = opened.model
    tokenizer = tokenizer_of(opened.tokenizer, engine.valid_vocab, args.file)
    eos = opened.special_ids.get("eos", engine.valid_vocab)
    prompt = tokenizer.encode(args.prompt)
    coming = generate(
        engine, prompt, max_tokens=args.max_tokens, sampling=sampling,
        stop_ids=(eos,) if eos < engine.valid_vocab else (), stop_strings=args.stop,
        tokenizer=tokenizer,
    )  # fmt: skip
    steps, start = [], time.perf_counter()
    if not args.json:
        print(args.prompt, end="", flush=True)
    for step in coming:
        steps.append(step)
        if not args.json:
            print(step.text, end="", flush=True)
    seconds = time.perf_counter() - start
    out = Generation.from_steps(steps)
    rate = len(out.token_ids) / seconds
    if not args.json:
        print(flush=True)
        why = {"length": "--max-tokens", "stop": "a stop string", "eos": "the end of the text"}
        ended = why.get(out.finish_reason or "", "")
        console.print(f"{len(out.token_ids)} tokens, {rate:.0f} per second; ended by {ended}")
    result = {
        "text": out.text,
        "token_ids": list(out.token_ids),
        "finish_reason": out.finish_reason,
        "prompt_tokens": len(prompt),
        "tokens_per_second": rate,
    }
    if args.device == "sim":
        result["cycles_per_token"] = engine.cycles / engine.tokens
    return result


def _model(name: str) -> str:
    """Quantized file of a build directory, or the file itself."""
    from lightmamba.arch.artifact import MANIFEST, MODEL

    path = Path(name)
    return str(path / MODEL) if (path / MANIFEST).is_file() else name


def _open_simulated(name: str) -> Any:
    """Gates of a build as what makes logits."""
    from lightmamba.arch.artifact import Artifact
    from lightmamba.cli.models import Opened
    from lightmamba.cli.show import working
    from lightmamba.compiler import open_model
    from lightmamba.sim import DeviceDecoder, open_device

    artifact = Artifact.read(Path(name))
    model = open_model(artifact)
    with working("building the simulator (a minute or two, the first time)"):
        device = open_device(artifact, observed=False)
    return Opened(DeviceDecoder(device, model), model.tokenizer, model.special_ids)
