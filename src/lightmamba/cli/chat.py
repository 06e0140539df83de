"""``lightmamba chat``."""

import argparse
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightmamba.cli.decoding import (
    add_decoding,
    chat_ids,
    check_sampling,
    open_decoder,
    sampling_of,
)

if TYPE_CHECKING:
    from lightmamba.cli.models import Opened
    from lightmamba.runtime import Context, Drafter, Step
    from lightmamba.tokenizer import Tokenizer

__all__ = ["add_arguments", "run"]

HELP = "Ctrl+C stops an answer, /clear begins anew, Ctrl+D ends"
Messages = list[dict[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_decoding(parser, max_tokens=1024)
    parser.add_argument("--system", metavar="TEXT", help="system message")


@dataclass
class Chat:
    """Messages so far, and what answers them.

    Parameters
    ----------
    args
        Flags of the verb.
    opened, tokenizer
        The model.
    drafter
        Makes what guesses the tokens of an answer.
    context
        What it has read.
    messages
        By role and content.
    tokens
        Generated in all.
    """

    args: argparse.Namespace
    opened: "Opened"
    tokenizer: "Tokenizer"
    drafter: "Callable[[], Drafter] | None"
    context: "Context"
    messages: Messages = field(default_factory=list)
    tokens: int = 0

    def clear(self) -> None:
        """Begin anew."""
        system = self.args.system
        self.messages = [] if system is None else [{"role": "system", "content": system}]

    def answer(self, text: str) -> "Generator[Step]":
        """Steps of the answer to a message; what was said until it stops is remembered."""
        from lightmamba.runtime import generate

        asked: Messages = [*self.messages, {"role": "user", "content": text}]
        ids = chat_ids(self.opened, self.tokenizer, asked, self.args.file)
        model, said = self.opened.model, ""
        sampling, _ = sampling_of(self.args, self.opened.generation_config)
        try:
            for step in generate(
                model, ids, max_tokens=self.args.max_tokens, sampling=sampling,
                stop_ids=[i for i in self.opened.eos_ids if i < model.valid_vocab],
                stop_strings=self.args.stop, tokenizer=self.tokenizer,
                drafter=self.drafter and self.drafter(), context=self.context,
            ):  # fmt: skip
                self.tokens += 1
                said += step.text
                yield step
        finally:
            self.messages = [*asked, {"role": "assistant", "content": said}]


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.show import note
    from lightmamba.runtime import Context

    check_sampling(args)
    opened, tokenizer, drafter = open_decoder(args)
    chat = Chat(args, opened, tokenizer, drafter, Context())
    chat.clear()
    chat_ids(opened, tokenizer, [{"role": "user", "content": ""}], args.file)  # or it is no chat
    note(f"{args.file}: {HELP}")
    seconds = 0.0
    for text in _lines():
        if text == "/clear":
            chat.clear()
            continue
        start = time.perf_counter()
        _show(chat.answer(text), quiet=args.json)
        seconds += time.perf_counter() - start
    rate = chat.tokens / seconds if seconds else None
    if rate is not None:
        note(f"{chat.tokens} tokens, {rate:.0f} per second")
    return {"messages": chat.messages, "tokens": chat.tokens, "tokens_per_second": rate}


def _lines() -> Iterator[str]:
    """Messages, a line each, until the input ends; lines without a word are left out."""
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        import readline  # noqa: F401  # edits lines and remembers them
    while True:
        try:
            text = input(prompt).strip()
        except EOFError:
            return
        if text:
            yield text


def _show(steps: "Generator[Step]", *, quiet: bool) -> None:
    """Print an answer as it comes; Ctrl+C ends it, not the chat."""
    try:
        for step in steps:
            if not quiet:
                print(step.text, end="", flush=True)
    except KeyboardInterrupt:
        steps.close()
    if not quiet:
        print(flush=True)
