"""A program that renders chat templates, with little memory and time for each.

A template comes with a checkpoint, so it is a stranger's code. It runs in jinja2's sandbox, which
limits what it reaches, and in a process of its own, which limits what it takes: ``"a" * 10 ** 10``
is a template too. The program imports nothing of the project, so that it starts quickly. It reads
a request from each line, ``{"seconds", "template", "values"}`` in JSON, and answers with
``{"text"}``, ``{"refuses"}`` or ``{"fails"}``. A template that takes more seconds of processor time
ends it (SIGXCPU).
"""

import contextlib
import functools
import json
import math
import resource
import signal
import sys
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["main"]

MEMORY = 1 << 30  # bytes of the process
LONGEST = 1 << 24  # characters of a text


def answer(template: str, values: dict[str, Any]) -> dict[str, str]:
    """Render a template, as ``apply_chat_template`` of transformers does, or say why not."""
    try:
        text = compiled(template).render(**values)
        if len(text) > LONGEST:
            return {"fails": f"it writes more than {LONGEST:,} characters"}
        return {"text": text}
    except TemplateError as error:
        return {"refuses": _line(error)}
    except RecursionError:
        return {"fails": "it never ends"}
    except MemoryError:
        return {"fails": f"it takes more than {MEMORY >> 20:,} MB"}
    except Exception as error:  # of the template: a TypeError, a ZeroDivisionError, ...
        return {"fails": _line(error)}


@functools.lru_cache(8)
def compiled(template: str) -> Template:
    """A template in the sandbox, with what templates are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson  # jinja2's own escapes for HTML
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


class Generation(Extension):
    """``{% generation %}`` marks the model's words for training; here it changes nothing."""

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


Generation.tags = {"generation"}


def tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the program that asks
    with contextlib.suppress(ValueError, OSError):  # a system without this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = math.ceil(used.ru_utime + used.ru_stime) + request["seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        found = answer(request["template"], request["values"])
        sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
