"""``lightmamba generate``."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import add_device
from lightmamba.cli.models import bundled_file

if TYPE_CHECKING:
    from lightmamba.cli.models import Opened
    from lightmamba.qmodel import QuantizedModel
    from lightmamba.runtime import Speculation
    from lightmamba.runtime.drafting import Drafter
    from lightmamba.tokenizer import Tokenizer

__all__ = ["add_arguments", "run"]

log = logging.getLogger(__name__)
OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=bundled_file, metavar="FILE or BUILD",
                        help="quantized model, bundled, or a build")  # fmt: skip
    add_device(parser)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="text to continue; -: read it from standard input")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE", help="text to continue")
    parser.add_argument(
        "--chat",
        action="store_true",
        help="treat the prompt as a chat message, with the model's template",
    )
    parser.add_argument("--system", metavar="TEXT", help="with --chat: the system message")
    parser.add_argument(
        "--max-tokens", type=int, default=100, help="tokens to generate at most (default: 100)"
    )
    # Of these the model's generation config has defaults, and without one the brackets.
    parser.add_argument(
        "--temperature", type=float, help="sampling temperature; 0 for greedy (default: 0)"
    )
    parser.add_argument(
        "--top-k", type=int, help="sample from the K most likely tokens (default: all)"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        help="sample from the most likely tokens of total probability P (default: 1)",
    )
    parser.add_argument(
        "--min-p", type=float, help="drop tokens below P times the best probability (default: 0)"
    )
    parser.add_argument(
        "--repetition-penalty", type=float, help="penalty for repeated tokens (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text (default: 0)")
    parser.add_argument("--speculate", metavar="ngram|MODEL",
                        help="draft tokens from what the text repeats, or with a smaller model, "
                             "and verify several per pass: same text, faster")  # fmt: skip
    parser.add_argument("--stop", action="append", default=[], help="stop at this text; repeatable")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from lightmamba.cli.show import note
    from lightmamba.errors import InputError
    from lightmamba.runtime import Generation, Speculation, Step, generate, sampling_options

    if args.system is not None and not args.chat:
        raise InputError("--system is a message of a chat; give --chat too")
    args.prompt = _text(args)
    given = {name: getattr(args, name) for name in OPTIONS}
    sampling_options({}, seed=args.seed, **given)  # refused before anything is opened
    opened, tokenizer, drafter = _open(args)
    sampling, taken = sampling_options(opened.generation_config, seed=args.seed, **given)
    engine, prompt = opened.model, _prompt(args, opened, tokenizer)
    report = Speculation()
    coming = generate(
        engine, prompt, max_tokens=args.max_tokens, sampling=sampling,
        stop_ids=[i for i in opened.eos_ids if i < engine.valid_vocab], stop_strings=args.stop,
        tokenizer=tokenizer, drafter=drafter, report=report,
    )  # fmt: skip
    steps: list[Step] = []
    start = time.perf_counter()
    if not args.json and not args.chat:
        print(args.prompt, end="", flush=True)
    for step in coming:
        if not steps:
            log.info("prompt of %d tokens: %.2f s", len(prompt), time.perf_counter() - start)
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
        note(f"{len(out.token_ids)} tokens, {rate:.0f} per second; ended by {ended}")
        if args.speculate is not None:
            note(_guesses(report))
        if taken:
            values = ", ".join(f"{name} {getattr(sampling, name):g}" for name in taken)
            note(f"from the model's generation config: {values}")
    result = {
        "text": out.text,
        "token_ids": list(out.token_ids),
        "finish_reason": out.finish_reason,
        "prompt_tokens": len(prompt),
        "tokens_per_second": rate,
        "sampling": asdict(sampling),
    }
    if args.speculate is not None:
        result["speculation"] = asdict(report)
    if args.device != "engine":
        result["cycles_per_token"] = engine.cycles / engine.tokens
    return result


def _text(args: argparse.Namespace) -> str:
    """The prompt's text; a line break that ends it is left out."""
    from lightmamba.inputs import read_text

    if args.prompt_file is not None:
        return read_text(args.prompt_file).removesuffix("\n")
    if args.prompt == "-":
        return sys.stdin.read().removesuffix("\n")
    return str(args.prompt)


def _guesses(report: "Speculation") -> str:
    """What guessing brought."""
    if not report.drafted:
        return "no guesses were made"
    return (f"guesses: {report.drafted}, of which {report.acceptance:.0%} were right; "
            f"{report.tokens_per_pass:.2f} tokens per pass")  # fmt: skip


def _prompt(args: argparse.Namespace, opened: "Opened", tokenizer: "Tokenizer") -> Any:
    """Ids of the prompt, or of the chat that it begins."""
    from lightmamba.errors import InputError
    from lightmamba.runtime.chat import render_chat, special_words

    if not args.chat:
        return tokenizer.encode(args.prompt)
    if opened.chat_template is None:
        raise InputError(f"{args.file} has no chat template, so it is no chat model; "
                         f"leave --chat out")  # fmt: skip
    messages = [] if args.system is None else [{"role": "system", "content": args.system}]
    words = special_words(opened.special_ids, tokenizer)
    text = render_chat(
        opened.chat_template, [*messages, {"role": "user", "content": args.prompt}],
        special_tokens=words,
    )  # fmt: skip
    return tokenizer.encode(text, add_special_tokens=False)


def _open(args: argparse.Namespace) -> "tuple[Opened, Tokenizer, Drafter | None]":
    """The decoder, the tokenizer and what guesses; what is wrong is said before a device opens."""
    from lightmamba.arch.artifact import MANIFEST, Artifact
    from lightmamba.cli.devices import open_build, read_build
    from lightmamba.cli.models import open_engine, tokenizer_of
    from lightmamba.runtime.devices import check_device, check_speculation

    check_device(args.device)
    path = Path(args.file)
    if args.device == "engine" and not (path / MANIFEST).is_file():
        opened = open_engine(args.file, args.threads)
        tokenizer = tokenizer_of(opened.tokenizer, opened.model.valid_vocab, args.file)
        return opened, tokenizer, _drafter(args, opened.model.model)
    artifact = Artifact.read(path)
    if args.speculate is not None:
        check_speculation(args.device, artifact)
    model, tokenizer = read_build(artifact)
    drafter = _drafter(args, model)
    return open_build(artifact, model, args), tokenizer, drafter


def _drafter(args: argparse.Namespace, model: "QuantizedModel") -> "Drafter | None":
    """What guesses for a model, if that was asked for."""
    from lightmamba.runtime.drafting import drafter_of

    if args.speculate is None:
        return None
    return drafter_of(bundled_file(args.speculate), model, args.threads)()
