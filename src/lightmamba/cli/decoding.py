"""Flags of the verbs that write text, and the decoder that they name."""

import argparse
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import add_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightmamba.numerics.sampling_options import SamplingOptions
    from lightmamba.text import Drafter, Speculation
    from lightmamba.text.model import Model

__all__ = ["add_decoding", "check_sampling", "draft_summary", "open_writer", "sampling_of"]


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
    from lightmamba.text.defaults import OPTIONS, sampling_options

    given = {name: getattr(args, name) for name in OPTIONS}
    return sampling_options(generation_config, seed=args.seed, **given)


def open_writer(
    args: argparse.Namespace, chat: list[dict[str, str]] | None = None
) -> "tuple[Model, Any, Callable[[], Drafter] | None]":
    """Model, decoder and a maker of drafters; bad input is refused before a device opens.

    Parameters
    ----------
    args
        Flags of the verb.
    chat
        Messages that the model's template must accept.
    """
    from lightmamba.cli.devices import open_decoder, read_model

    model = read_model(args)
    if chat is None:
        _ = model.tokenizer  # refused now if there is none
    else:
        model.chat_ids(chat)
    drafter = model.drafter(args.speculate, args.device)
    return model, open_decoder(model, args), drafter


def draft_summary(report: "Speculation") -> str:
    """Summary of the drafts."""
    if not report.drafted:
        return "no tokens were drafted"
    return (f"drafted {report.drafted} tokens, of which {report.acceptance:.0%} were accepted; "
            f"{report.tokens_per_pass:.2f} tokens per pass")  # fmt: skip
