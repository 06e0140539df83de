"""``lightmamba generate``."""

import argparse
import logging
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from lightmamba.cli.devices import first_step, open_writer, sampling_of
from lightmamba.cli.show import detail, note, say, speed
from lightmamba.common.errors import InputError
from lightmamba.engine.engine import PIECE
from lightmamba.model.inputs import read_stdin, read_text
from lightmamba.text import Context, Generation, Speculation
from lightmamba.text.model import Model

__all__ = ["run"]

log = logging.getLogger(__name__)
LONGEST = 4_000_000  # characters of a prompt, which take about a gigabyte


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.system is not None and not args.chat:
        raise InputError("--system is a message of a chat; give --chat too")
    args.prompt = _text(args)
    model, decoder, drafter, prompt = open_writer(args, partial(_prompt, args))
    sampling, taken = sampling_of(args, model.quantized.generation_config)
    report = Speculation()
    context, said = Context(), "" if args.chat else args.prompt
    coming = model.steps(
        prompt, decoder, max_tokens=args.max_tokens, sampling=sampling, stop_strings=args.stop,
        drafter=drafter and drafter(), report=report, context=context,
    )  # fmt: skip
    start = time.perf_counter()
    short = len(prompt) <= PIECE  # else the bar would be in the line that the prompt ends with
    say(said if short else "", end="")
    steps = [first_step(coming, len(prompt), context)]
    say("" if short else said, end="")
    first = time.perf_counter()
    log.info("prompt of %d tokens: %.2f s", len(prompt), first - start)
    say(steps[0].text, end="")
    for step in coming:
        steps.append(step)
        say(step.text, end="")
    end = time.perf_counter()
    out = Generation.from_steps(steps)
    # The first token is drawn from the prompt's logits, so its time is the prompt's.
    rates = len(prompt) / (first - start), (len(steps) - 1) / (end - first)
    say()
    why = {
        "length": "--max-tokens", "stop": "a stop string", "eos": "the end of the text",
        "context": "the build's memory",
    }  # fmt: skip
    ended = why.get(out.finish_reason or "", "")
    read, made = _speed(len(prompt), rates[0]), _speed(len(steps), rates[1])
    detail(f"prompt: {read}; generated: {made}; ended by {ended}")
    if args.speculate is not None:
        detail(_drafts(report))
    if taken:
        values = ", ".join(f"{name} {getattr(sampling, name):g}" for name in taken)
        detail(f"from the model's generation config: {values}")
    if out.finish_reason == "context":
        note(
            f"the build has memory for {decoder.context_length:,} tokens of a text; for "
            f"{args.max_tokens} after this prompt, compile with "
            f"--context {len(prompt) + args.max_tokens - 1}"
        )
    result = {
        "text": out.text,
        "token_ids": list(out.token_ids),
        "finish_reason": out.finish_reason,
        "prompt_tokens": len(prompt),
        "tokens_per_second": len(steps) / (end - start),
        "prompt_tokens_per_second": rates[0],
        "generation_tokens_per_second": rates[1] if len(steps) > 1 else None,
        "sampling": asdict(sampling),
    }
    if args.speculate is not None:
        result["speculation"] = asdict(report)
    if args.device != "engine":
        result["cycles_per_token"] = decoder.cycles / decoder.tokens
    return result


def _drafts(report: Speculation) -> str:
    """Summary of the drafts."""
    if not report.drafted:
        return "no tokens were drafted"
    return (
        f"drafted {report.drafted} tokens, of which {report.acceptance:.0%} were accepted; "
        f"{report.tokens_per_pass:.2f} tokens per pass"
    )


def _speed(tokens: int, rate: float) -> str:
    """Number of tokens, and how many a second; none are timed where there is only one."""
    return f"{tokens} tokens, {speed(rate)} per second" if tokens > 1 else "1 token"


def _text(args: argparse.Namespace) -> str:
    """The prompt's text; of a file or standard input without the line break that ends it."""
    if args.prompt_file is not None and str(args.prompt_file) != "-":
        return read_text(args.prompt_file, LONGEST).removesuffix("\n")
    if args.prompt_file is not None or args.prompt == "-":
        return read_stdin(LONGEST).removesuffix("\n")
    return str(args.prompt)


def _prompt(args: argparse.Namespace, model: Model) -> Any:
    """Ids of the prompt, or of the chat that it begins."""
    if not args.chat:
        return model.tokenizer.encode(args.prompt)
    messages = [] if args.system is None else [{"role": "system", "content": args.system}]
    return model.chat_ids([*messages, {"role": "user", "content": args.prompt}])
