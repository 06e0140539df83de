"""Messages to the text that a chat model was trained on, by the template of its checkpoint.

A template comes with the checkpoint, so it is a stranger's code: it runs in jinja2's sandbox, sees
strings only, and gets the functions that transformers gives it, so that it renders the same text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.tokenizer import Tokenizer

__all__ = ["render_chat", "special_ids", "special_words", "tokenizer_config"]

STEPS = 1_000_000  # of loops and macros: about a second
CALL = 20  # steps that a call of a macro takes


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
        If the template is broken or unsafe, takes more than a million steps, or
        refuses the messages.
    """
    from jinja2 import TemplateError

    try:
        environment = _environment()
        return str(
            environment
            .from_string(_counted(environment, template))
            .render(
                messages=[dict(message) for message in messages], tools=None, documents=None,
                add_generation_prompt=add_generation_prompt, **(special_tokens or {}),
            )
        )  # fmt: skip
    except TemplateError as error:
        raise InputError(f"the model's chat template refuses this: {_line(error)}") from error
    except RecursionError as error:
        raise InputError("the model's chat template never ends") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise InputError(f"the model's chat template fails: {_line(error)}") from error


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


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _counted(environment: Any, template: str) -> Any:
    """The parsed template, whose loops and macros count their steps."""
    from jinja2 import nodes

    def call(name: str, *given: Any, line: int) -> Any:
        return nodes.Call(nodes.EnvironmentAttribute(name), [*given], [], None, None, lineno=line)

    tree = environment.parse(template)
    for each in tree.find_all((nodes.Macro, nodes.For)):
        if isinstance(each, nodes.For):
            each.iter = call("counted", each.iter, line=each.lineno)
        if isinstance(each, nodes.Macro) or each.recursive:
            step = nodes.ExprStmt(call("step", line=each.lineno), lineno=each.lineno)
            each.body.insert(0, step)
    return tree


def _environment() -> Any:
    """The sandbox, with the options, filters and functions that templates are written for."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks the model's words for training; here it changes nothing."""

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    Generation.tags = {"generation"}

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
            sort_keys=sort_keys,
        )  # fmt: skip

    class Environment(ImmutableSandboxedEnvironment):
        """The sandbox, which counts the steps of a template."""

        steps = 0

        def step(self, cost: int = CALL) -> None:
            self.steps += cost
            if self.steps > STEPS:
                raise TemplateError(
                    f"it takes more than {STEPS:,} steps; send fewer messages or shorter ones"
                )

        def counted(self, items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                self.step(1)
                yield item

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson  # jinja2's own escapes for HTML
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
