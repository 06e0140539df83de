"""Responses as pydantic models, only to describe them in /openapi.json."""

from typing import Any, Literal

from pydantic import BaseModel

__all__ = [
    "RESPONSES", "STREAMS", "ChatCompletion", "Completion", "Detokenized", "Health", "Models",
    "Tokenized", "TokenizerInfo",
]  # fmt: skip


class _Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class _Refusal(BaseModel):
    error: _Error


class _Details(BaseModel):
    cached_tokens: int


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _Details


class _Scores(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class _Alternative(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class _Token(_Alternative):
    top_logprobs: list[_Alternative]


class _ChatScores(BaseModel):
    content: list[_Token]
    refusal: None


class _Choice(BaseModel):
    index: int
    text: str
    logprobs: _Scores | None
    finish_reason: Literal["stop", "length"]


class _Message(BaseModel):
    role: Literal["assistant"]
    content: str


class _ChatChoice(BaseModel):
    index: int
    message: _Message
    logprobs: _ChatScores | None
    finish_reason: Literal["stop", "length"]


class _Answer(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    seed: int
    usage: _Usage


class Completion(_Answer):
    """A completion that is not streamed."""

    object: Literal["text_completion"]
    choices: list[_Choice]


class ChatCompletion(_Answer):
    """A chat's answer that is not streamed."""

    object: Literal["chat.completion"]
    choices: list[_ChatChoice]


class _Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    fingerprint: str


class Models(BaseModel):
    """The one model."""

    object: Literal["list"]
    data: list[_Model]


class Health(BaseModel):
    """State of the server."""

    status: Literal["ok", "stopping", "failed"]
    model: str
    device: str
    chat: bool
    slots: int
    running: int
    waiting: int


class _Piece(BaseModel):
    id: int
    piece: str | list[int]


class Tokenized(BaseModel):
    """Tokens of a text."""

    tokens: list[int] | list[_Piece]
    count: int
    max_model_len: int
    token_strs: list[str] | None


class Detokenized(BaseModel):
    """Text of tokens, by both names."""

    content: str
    prompt: str


class TokenizerInfo(BaseModel):
    """Special tokens and chat template."""

    tokenizer_class: str
    clean_up_tokenization_spaces: bool
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str = ""


_STATUS = {
    400: "The request is not right.", 401: "The key is missing or wrong.",
    403: "The server has no key and is not called by a name of this computer.",
    404: "There is no such model.", 408: "It took too long.", 413: "The body is too large.",
    429: "Too many requests wait; Retry-After says when to try again.",
    503: "The server is stopping.",
}  # fmt: skip
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": _Refusal, "description": text} for status, text in _STATUS.items()
}
# Of one event; its data is a chunk of the answer as JSON, or [DONE].
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with stream: true, server-sent events.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}
