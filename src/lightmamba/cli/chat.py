"""``lightmamba chat``."""

import argparse
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from io import TextIOWrapper
from itertools import chain
from typing import Any

from lightmamba.cli.devices import first_step, open_writer, sampling_of
from lightmamba.cli.show import note, say, speed
from lightmamba.common.errors import InputError, Terminated
from lightmamba.text import Context, Drafter, Step
from lightmamba.text.model import Model

__all__ = ["run"]

HELP = "Ctrl+C stops an answer, /clear starts over, Ctrl+D quits"
Messages = list[dict[str, str]]


@dataclass
class Chat:
    """Messages so far, and what answers them.

    Parameters
    ----------
    args
        Flags of the verb.
    model, decoder
        The model, and what runs it.
    drafter
        Makes the drafter of an answer.
    context
        What it has read.
    messages
        By role and content.
    tokens
        Generated in all.
    """

    args: argparse.Namespace
    model: Model
    decoder: Any
    drafter: Callable[[], Drafter] | None
    context: Context
    messages: Messages = field(default_factory=list)
    tokens: int = 0

    def clear(self) -> None:
        """Start over."""
        self.messages = _messages(self.args.system)

    def answer(self, text: str) -> Generator[Step]:
        """Steps of the answer to a message; what was said until it stops is remembered."""
        asked: Messages = [*self.messages, {"role": "user", "content": text}]
        sampling, _ = sampling_of(self.args, self.model.quantized.generation_config)
        said, ids = "", self.model.chat_ids(asked)
        steps = self.model.steps(
            ids, self.decoder, max_tokens=self.args.max_tokens,
            sampling=sampling, stop_strings=self.args.stop,
            drafter=self.drafter and self.drafter(), context=self.context,
        )  # fmt: skip
        try:
            first = first_step(steps, len(ids) - self.context.known(ids.tolist()), self.context)
            for step in chain([first], steps):
                self.tokens += 1
                said += step.text
                yield step
        finally:
            self.messages = [*asked, {"role": "assistant", "content": said}]


def run(args: argparse.Namespace) -> dict[str, Any]:
    first = _messages(args.system, "Hello")
    model, decoder, drafter, _ = open_writer(args, lambda model: model.chat_ids(first))
    chat = Chat(args, model, decoder, drafter, Context())
    chat.clear()
    note(f"{args.file}: {HELP}")
    seconds = 0.0
    for text in _lines():
        if text == "/clear":
            chat.clear()
            continue
        if text.startswith("/") and text[1:].isalpha():
            note(f"there is no command {text}; {HELP}")
            continue
        start = time.perf_counter()
        try:
            last = _show(chat.answer(text))
        except InputError as error:
            note(f"{error}; /clear starts over")
            continue
        if last is not None and last.finish_reason == "context":
            note(f"the build has memory for {chat.decoder.context_length:,} tokens of a chat; "
                 f"/clear starts over")  # fmt: skip
        seconds += time.perf_counter() - start
    rate = chat.tokens / seconds if seconds else None
    if rate is not None:
        note(f"{chat.tokens} tokens, {speed(rate)} per second")
    return {"messages": chat.messages, "tokens": chat.tokens, "tokens_per_second": rate}


def _messages(system: str | None, text: str | None = None) -> Messages:
    """A system message and a user's, where there are any."""
    given = (("system", system), ("user", text))
    return [{"role": role, "content": said} for role, said in given if said is not None]


def _lines() -> Iterator[str]:
    """Messages, a line each, until the input ends; lines without a word are left out."""
    prompt = "> " if sys.stdin.isatty() and sys.stdout.isatty() else ""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # else other lines go with a broken one
    if prompt:
        with suppress(ImportError):
            import_module("readline")  # edits lines and remembers them
    while True:
        try:
            text = input(prompt).strip()
            text.encode()
        except EOFError:
            return
        except UnicodeEncodeError:
            note("that line is not UTF-8 text; it was left out")
            continue
        except Terminated:
            raise
        except KeyboardInterrupt:  # too late for the answer that it was to stop
            print(file=sys.stderr)
            continue
        if text:
            yield text


def _show(steps: Generator[Step]) -> Step | None:
    """Print an answer as it comes, and return its last step; Ctrl+C ends it, not the chat."""
    step = None
    try:
        for step in steps:
            say(step.text, end="")
    except KeyboardInterrupt as error:
        steps.close()
        if isinstance(error, Terminated):
            raise
    say()
    return step
