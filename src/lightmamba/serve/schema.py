"""Requests as pydantic models; FastAPI describes them in /openapi.json.

A parameter of OpenAI's that this server does not have may be given with the value that asks for
nothing; with any other it is refused, never ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "ChatRequest", "CompletionRequest", "DetokenizeRequest", "Message", "Request", "StreamOptions",
    "TextPart", "TokenizeRequest",
]  # fmt: skip

# Parameters of OpenAI's API that are not offered, and the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False), "top_logprobs": (None, 0), "logit_bias": (None, {}),
    "suffix": (None, ""), "best_of": (None, 1), "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, False, True), "functions": (None, []),
    "function_call": (None, "none", "auto"), "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]), "audio": (None,), "prediction": (None,),
    "reasoning_effort": (None,), "web_search_options": (None,), "store": (None, False),
    "metadata": (None, {}), "service_tier": (None, "auto", "default"),
}  # fmt: skip


def _whole(value: Any) -> Any:
    """In JSON 5.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = BeforeValidator(_whole)
Count = Annotated[int, Field(ge=1, le=1 << 31), _Whole]
Amount = Annotated[int, Field(ge=0, le=1 << 31), _Whole]
Choices = Annotated[int, Field(ge=1, le=128), _Whole]
Top = Annotated[int, Field(ge=0, le=20), _Whole]
TopK = Annotated[int, Field(ge=0, le=1 << 31), _Whole]
Seed = Annotated[int, Field(ge=0, lt=1 << 64), _Whole]
Token = Annotated[int, Field(ge=0, lt=1 << 31), _Whole]
# A list ends at its first wrong element: each error takes a thousand times the element's memory.
Tokens = Annotated[list[Token], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]
Many = Annotated[list[Tokens], Field(min_length=1, fail_fast=True)]


FIELDS = 100  # that an object may have, at most; each unknown one is an error of its own


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > FIELDS:
            raise ValueError(f"an object may have {FIELDS} fields, and this one has {len(data)}")
        return data


class StreamOptions(_Strict):
    """How to stream."""

    include_usage: bool = Field(False, description="Send the token counts before the end.")
    include_obfuscation: bool = Field(False, description="Taken, and without effect.")


class Request(_Strict):
    """Fields of both kinds of request."""

    model: str | None = Field(None, description="Name of the model, as /v1/models has it.")
    max_tokens: Count | None = Field(None, description="Tokens per choice.")
    temperature: float | None = Field(
        None, ge=0, le=100,
        description="0 takes the most probable token. Default: the model's generation config.",
    )  # fmt: skip
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: TopK | None = Field(
        None, description="Extension: only the K most probable tokens; 0: all."
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="Extension: at least P times the best probability."
    )
    repetition_penalty: float | None = Field(
        None, ge=0.01, le=100, description="Extension: as in transformers; the prompt counts."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Subtracted for each time that a token was generated."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Subtracted if a token was generated before."
    )
    seed: Seed | None = Field(
        None, description="Same request and seed, same answer. Default: random."
    )
    n: Choices | None = Field(None, description="Choices per prompt.")
    stop: str | Annotated[list[str], Field(max_length=16, fail_fast=True)] | None = Field(
        None, description="Texts that end the answer and are left out."
    )
    stream: bool | None = Field(None, description="Send the answer as it comes, as SSE.")
    stream_options: StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _neutral(cls, data: Any) -> Any:
        """Take away what asks for nothing, and refuse what is not offered."""
        if not isinstance(data, dict):
            return data
        kept = {}
        for name, value in data.items():
            neutral = _alike(NEUTRAL.get(name, ()))
            if any(type(value) is type(x) and value == x for x in neutral):
                continue
            if name not in NEUTRAL or name in cls.model_fields:
                kept[name] = value
            else:
                raise ValueError(f"this server does not offer {name}; leave it out")
        return kept


class CompletionRequest(Request):
    """A text to go on from."""

    prompt: str | Texts | Tokens | Many = Field(
        description="A text, token ids, or a list of either.", examples=["It was a"]
    )
    max_tokens: Amount | None = Field(
        None, description="Tokens per choice; 0 with echo: the prompt only, and its scores."
    )
    echo: bool | None = Field(None, description="Put the prompt before the answer.")
    logprobs: Top | None = Field(
        None, description="Log-probabilities of every token, with echo of the prompt's too, and of "
        "this many of the most likely ones at its position.",
    )  # fmt: skip


class TextPart(_Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(_Strict):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: None = None

    @property
    def plain(self) -> dict[str, str]:
        """Role and text, as chat templates take them: ``developer`` is a newer name of system."""
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


Messages = Annotated[list[Message], Field(min_length=1, fail_fast=True)]


class ChatRequest(Request):
    """Messages to answer."""

    messages: Messages
    max_completion_tokens: Count | None = Field(
        None, description="OpenAI's newer name of max_tokens."
    )
    logprobs: bool | None = Field(None, description="Log-probabilities of every token.")
    top_logprobs: Top | None = Field(
        None, description="With logprobs: this many of the most likely tokens at its position."
    )


class TokenizeRequest(_Strict):
    """A text or chat to split into tokens, in the form of llama.cpp or of vLLM."""

    model: str | None = Field(None, description="Name of the model, as /v1/models has it.")
    content: str | None = Field(None, description="A text, as llama.cpp names it.")
    prompt: str | None = Field(None, description="A text, as vLLM names it.", examples=["It was a"])
    messages: Messages | None = Field(
        None, description="A chat, which the checkpoint's template makes a text."
    )
    add_special: bool | None = Field(
        None, description="Add what the tokenizer puts around a text. Default: for prompt only."
    )
    add_special_tokens: bool | None = Field(None, description="vLLM's name of add_special.")
    parse_special: Literal[True] | None = Field(
        None, description="Special tokens in a text are always recognized."
    )
    with_pieces: bool | None = Field(
        None, description="Give each token as its id and its text, or the bytes of a part of one."
    )
    return_token_strs: bool | None = Field(
        None, description="Give the tokenizer's words of the tokens too."
    )


class DetokenizeRequest(_Strict):
    """Token ids to turn into text."""

    model: str | None = Field(None, description="Name of the model, as /v1/models has it.")
    tokens: list[Token] = Field(fail_fast=True, examples=[[84, 1, 7]])
    skip_special_tokens: bool | None = Field(None, description="Leave special tokens out.")


def _alike(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, and 0 as a float too."""
    return (*values, *(float(x) for x in values if type(x) is int))
