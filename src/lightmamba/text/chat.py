"""Messages to the text that a chat model was trained on, by the template of its checkpoint.

The template runs in a process of its own (``template.py``), with limits of time and memory, where
it sees strings only and gets the functions that transformers gives it.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.forks import ForkLock
from lightmamba.model.tokenizer import Tokenizer

__all__ = ["render_chat", "special_ids", "special_words", "tokenizer_config"]

SECONDS = 5  # of processor time for a text


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, str]],
    *,
    special_tokens: Mapping[str, str] | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """Render messages, as ``apply_chat_template`` of transformers does.

    Parameters
    ----------
    template
        The checkpoint's, in jinja2.
    messages
        Each with a ``role`` ("system", "user" or "assistant") and its ``content``.
    special_tokens
        Text of ``bos_token``, ``eos_token`` and so on, where known.
    add_generation_prompt
        End where the model's answer begins.

    Raises
    ------
    InputError
        If the template is broken or unsafe, takes more than five seconds of processor time or a
        gigabyte, or refuses the messages.
    """
    values = {
        "messages": [dict(message) for message in messages], "tools": None, "documents": None,
        "add_generation_prompt": add_generation_prompt, **(special_tokens or {}),
    }  # fmt: skip
    found = _renderer.ask({"seconds": SECONDS, "template": template, "values": values})
    if (text := found.get("text")) is not None:
        return text
    how, why = next(iter(found.items()))
    then = " this" if how == "refuses" else ""
    raise InputError(f"the model's chat template {how}{then}: {why}")


class _Renderer:
    """The process that renders, begun when it is needed, and again if a template ended it."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._of = 0  # process that it answers

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Its answer to a request; that it fails, if it ended."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            except BaseException:  # Ctrl+C: its answer would be taken for that of the next request
                self._end()
                raise
            if line.endswith(b"\n"):
                found: dict[str, str] = json.loads(line)
                return found
            status = self._end()
        if status == -signal.SIGXCPU:
            why = f"it takes more than {SECONDS} seconds; send fewer messages or shorter ones"
            return {"fails": why}
        return {"fails": f"the process that renders it ended with status {status}"}

    def close(self) -> None:
        """End the process, if this one began it."""
        with self._lock:
            if self._process is not None and self._of == os.getpid():
                _close(self._process)  # it ends where nothing more comes
                self._end()

    def _running(self) -> "subprocess.Popen[bytes]":
        """The process; a child of fork has one of its own."""
        known = self._process
        if known is not None and (self._of != os.getpid() or known.poll() is not None):
            _close(known)
            known = None
        if known is None:
            program = Path(__file__).with_name("template.py")
            known = self._process = subprocess.Popen(
                [sys.executable, "-P", str(program)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._of = os.getpid()
        return known

    def _end(self) -> int:
        """Its status, if it has ended; else end it."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            _close(process)


def _close(process: "subprocess.Popen[bytes]") -> None:
    """Close the pipes of a process that nobody asks again."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # of what was not sent
                pipe.close()


_renderer = _Renderer()
atexit.register(_renderer.close)


def special_ids(known: Mapping[str, int | list[int]], name: str) -> tuple[int, ...]:
    """Ids called "bos", "eos" or "pad"; a text may end in several ways, and a name be unknown."""
    found = known.get(name, [])
    return tuple(found) if isinstance(found, list) else (found,)


def special_words(known: Mapping[str, int | list[int]], tokenizer: Tokenizer) -> dict[str, str]:
    """Text of ``bos_token``, ``eos_token`` and ``pad_token``, where a model has them.

    Parameters
    ----------
    known
        Ids by "bos", "eos" and "pad"; of several ids the first counts.
    tokenizer
        The model's.
    """
    words = {}
    for name in ("bos", "eos", "pad"):
        ids = special_ids(known, name)
        if ids and (word := tokenizer.token(ids[0])) is not None:
            words[f"{name}_token"] = word
    return words


def tokenizer_config(
    known: Mapping[str, int | list[int]], chat_template: str | None, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Content of a tokenizer_config.json, which transformers reads next to the tokenizer.json.

    Parameters
    ----------
    known, tokenizer
        As for :func:`special_words`.
    chat_template
        The checkpoint's, if it has one.
    """
    words: dict[str, str | None] = dict.fromkeys(("bos_token", "eos_token", "pad_token"))
    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        **words, **special_words(known, tokenizer),
    }  # fmt: skip
    return found if chat_template is None else found | {"chat_template": chat_template}
