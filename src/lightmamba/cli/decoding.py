"""Flags of the verbs that write text, and the decoder that they name."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import add_device

if TYPE_CHECKING:
    from lightmamba.cli.models import Opened
    from lightmamba.model.qmodel import QuantizedModel
    from lightmamba.model.tokenizer import Tokenizer
    from lightmamba.numerics.sampling_options import SamplingOptions
    from lightmamba.text import Speculation
    from lightmamba.text.drafting import Drafter

__all__ = [
    "add_decoding",
    "chat_ids",
    "check_sampling",
    "draft_summary",
    "open_decoder",
    "sampling_of",
]

OPTIONS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty",
)  # fmt: skip


def add_decoding(parser: argparse.ArgumentParser, *, max_tokens: int) -> None:
    """Add the model, its device, and how tokens are chosen and end."""
    parser.add_argument("file", metavar="FILE or BUILD",
                        help="quantized model, bundled, hub id, or a build")  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "--max-tokens", type=int, default=max_tokens,
        help=f"tokens to generate at most (default: {max_tokens})",
    )  # fmt: skip
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
    parser.add_argument(
        "--frequency-penalty", type=float, metavar="PENALTY",
        help="subtracted for each time that a token was generated (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--presence-penalty", type=float, metavar="PENALTY",
        help="subtracted if a token was generated before (default: 0)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text (default: 0)")
    parser.add_argument("--speculate", metavar="ngram|MODEL",
                        help="draft tokens from what the text repeats, or with a smaller model, "
                             "and verify several per pass: same text, faster")  # fmt: skip
    parser.add_argument("--stop", action="append", default=[], help="stop at this text; repeatable")


def check_sampling(args: argparse.Namespace) -> None:
    """Refuse sampling options that are out of range, before anything is opened."""
    sampling_of(args, {})


def sampling_of(
    args: argparse.Namespace, generation_config: Any
) -> "tuple[SamplingOptions, tuple[str, ...]]":
    """Sampling options of the flags, else of the model; and the names of the model's."""
    from lightmamba.text import sampling_options

    given = {name: getattr(args, name) for name in OPTIONS}
    return sampling_options(generation_config, seed=args.seed, **given)


def open_decoder(
    args: argparse.Namespace, chat: list[dict[str, str]] | None = None
) -> "tuple[Opened, Tokenizer, Callable[[], Drafter] | None]":
    """Decoder, tokenizer and a maker of drafters; bad input is refused before a device opens.

    Parameters
    ----------
    args
        Flags of the verb.
    chat
        Messages that the model's template must accept.
    """
    from lightmamba.cli.devices import check_device_flags, open_build, read_build
    from lightmamba.cli.hub import quantized_file
    from lightmamba.cli.models import Opened, open_engine, tokenizer_of
    from lightmamba.common.errors import InputError
    from lightmamba.device.host.devices import check_speculation
    from lightmamba.hardware.machine.artifact import MANIFEST, Artifact

    check_device_flags(args)
    if not args.file:
        raise InputError("the name of the model is empty; give a quantized file, or bundled")
    file = quantized_file(args.file, args.threads, args.device)
    path = Path(file)
    if args.device == "engine" and not (path / MANIFEST).is_file():
        opened = open_engine(file, args.threads)
        tokenizer = tokenizer_of(opened.tokenizer, opened.model.valid_vocab, args.file)
        if chat is not None:
            chat_ids(opened, tokenizer, chat, args.file)
        return opened, tokenizer, _drafter(args, opened.model.model)
    artifact = Artifact.read(path)
    if args.speculate is not None:
        check_speculation(args.device, artifact)
    model, tokenizer = read_build(artifact)
    if chat is not None:
        chat_ids(Opened.of(model, None), tokenizer, chat, args.file)
    drafter = _drafter(args, model)
    return open_build(artifact, model, args), tokenizer, drafter


def _drafter(args: argparse.Namespace, model: "QuantizedModel") -> "Callable[[], Drafter] | None":
    """Maker of drafters for the texts of a model, if they were asked for."""
    from lightmamba.cli.models import bundled_file
    from lightmamba.text.drafting import drafter_of

    if args.speculate is None:
        return None
    return drafter_of(bundled_file(args.speculate), model, args.threads)


def chat_ids(
    opened: "Opened", tokenizer: "Tokenizer", messages: list[dict[str, str]], name: str
) -> Any:
    """Ids of a chat, up to where the model's answer begins.

    Raises
    ------
    InputError
        If the model has no chat template, or the template refuses the messages.
    """
    from lightmamba.common.errors import InputError
    from lightmamba.text.chat import render_chat, special_words

    if opened.chat_template is None:
        raise InputError(f"{name} has no chat template, so it is not a chat model; "
                         f"try: lightmamba generate {name} --prompt TEXT")  # fmt: skip
    words = special_words(opened.special_ids, tokenizer)
    text = render_chat(opened.chat_template, messages, special_tokens=words)
    return tokenizer.encode(text, add_special_tokens=False)


def draft_summary(report: "Speculation") -> str:
    """Summary of the drafts."""
    if not report.drafted:
        return "no tokens were drafted"
    return (f"drafted {report.drafted} tokens, of which {report.acceptance:.0%} were accepted; "
            f"{report.tokens_per_pass:.2f} tokens per pass")  # fmt: skip
