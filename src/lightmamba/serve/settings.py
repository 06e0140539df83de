"""Settings of an operator: address, key and limits."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError

__all__ = ["KEY_VARIABLE", "Settings", "is_loopback", "read_key"]

KEY_VARIABLE = "LIGHTMAMBA_API_KEY"
SHORTEST_KEY = 8  # characters


@dataclass(frozen=True)
class Settings:
    """Limits and address of a server.

    Parameters
    ----------
    host, port
        Address to listen on; port 0 takes a free one.
    api_key
        What a client must send as a bearer token; None for no key, which only a loopback address
        may have.
    queue
        Sequences that may wait for a slot before requests are refused with 429.
    max_tokens
        Tokens that one choice may generate.
    max_prompt
        Tokens of a prompt.
    max_choices
        Choices of one request: prompts times ``n``.
    max_body
        Bytes of a request's body.
    max_requests
        Requests at a time, those included whose body is still arriving; of connections there may
        be twice this number.
    request_seconds
        Time from a request's arrival to its last token.
    body_seconds
        Time for a client to send a request's head, time for its body, and time in which it must
        take some of an answer.
    grace_seconds
        Time that running requests get to finish when the server stops.
    cache_bytes
        Memory of the prefix cache; 0 turns it off.
    page
        Whether ``/`` is a page for browsers.

    Raises
    ------
    InputError
        If a limit is out of its range, or an address other than loopback has no key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    queue: int = 256
    max_tokens: int = 4096
    max_prompt: int = 32_768
    max_choices: int = 64
    max_body: int = 1 << 20
    max_requests: int = 1024
    request_seconds: float = 600.0
    body_seconds: float = 30.0
    grace_seconds: float = 30.0
    cache_bytes: int = 256 << 20
    page: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise InputError(f"--port must be from 0 to 65535, not {self.port}; try 8000")
        for name in (
            "queue", "max_tokens", "max_prompt", "max_choices", "max_body", "max_requests",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} must be at least 1, not {getattr(self, name)}")
        for name in ("request_seconds", "body_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} must be above 0, not {getattr(self, name)}; try 600")
        if not 0 <= self.grace_seconds < float("inf"):
            raise InputError(f"--grace-seconds must not be negative, not {self.grace_seconds}")
        if self.cache_bytes < 0:
            raise InputError(
                f"--cache-mb must not be negative, not {self.cache_bytes >> 20}; try 256"
            )
        if self.api_key is None and not is_loopback(self.host):
            raise InputError(
                f"{self.host} can be reached from other computers, so it needs an API key: "
                f"give --api-key-file FILE, or set {KEY_VARIABLE}"
            )


def is_loopback(host: str) -> bool:
    """Whether only programs of this computer can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(file: Path | None) -> str | None:
    """The API key from a file, else from the environment, else None.

    Raises
    ------
    InputError
        If the file cannot be read, or the key is shorter than 8 characters or no plain ASCII word.
    """
    if file is not None:
        try:
            key, where = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise InputError(f"the API key in {file} cannot be read: {reason}") from error
    elif KEY_VARIABLE in os.environ:
        key, where = os.environ[KEY_VARIABLE].strip(), KEY_VARIABLE
    else:
        return None
    plain = key.isascii() and key.isprintable() and " " not in key
    if len(key) < SHORTEST_KEY or not plain:
        raise InputError(
            f"the API key in {where} must be one word of {SHORTEST_KEY} or more ASCII characters; "
            f"make one with: openssl rand -hex 16"
        )
    return key
