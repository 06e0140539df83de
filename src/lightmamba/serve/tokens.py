"""Text to tokens and back, for clients that count or cut what they send.

The requests of llama.cpp and of vLLM are both accepted, and an answer has the fields of both.
"""

import asyncio
from typing import Any

from starlette.responses import Response

from lightmamba.serve.errors import ApiError, JsonResponse
from lightmamba.serve.logprobs import Words
from lightmamba.serve.opened import Served
from lightmamba.serve.prepare import check_model, rendered
from lightmamba.serve.schema import DetokenizeRequest, TokenizeRequest
from lightmamba.serve.settings import Settings
from lightmamba.text.chat import tokenizer_config

__all__ = ["detokenize", "info", "tokenize"]


async def tokenize(request: TokenizeRequest, served: Served, settings: Settings) -> Response:
    """Tokens of a text or chat, their number, and how many a sequence may have.

    Raises
    ------
    ApiError, InputError
        If there is not exactly one text, or it cannot be tokenized.
    """
    check_model(request.model, served)
    if sum(x is not None for x in (request.content, request.prompt, request.messages)) != 1:
        raise ApiError(
            400, 'give one of content, prompt and messages; for example {"content": "It was a"}'
        )
    if None not in (request.add_special, request.add_special_tokens):
        raise ApiError(400, "add_special and add_special_tokens mean the same; give one of them",
                       param="add_special")  # fmt: skip
    special = request.add_special_tokens if request.add_special is None else request.add_special
    if special is None:
        special = request.prompt is not None
    if request.messages is not None:
        text = await rendered(request.messages, served)
    else:
        text = request.content or request.prompt or ""

    def answer() -> Response:
        ids = served.tokenizer.encode(text, add_special_tokens=special).tolist()
        found: dict[str, Any] = {
            "tokens": _pieces(ids, served) if request.with_pieces else ids,
            "count": len(ids), "max_model_len": _most(served, settings), "token_strs": None,
        }  # fmt: skip
        if request.return_token_strs:
            found["token_strs"] = [served.tokenizer.token(token) or "" for token in ids]
        return JsonResponse(found)

    return await asyncio.to_thread(answer)


async def detokenize(request: DetokenizeRequest, served: Served) -> Response:
    """The text of tokens.

    Raises
    ------
    ApiError, InputError
        If an id is not in the vocabulary.
    """
    check_model(request.model, served)
    skip = bool(request.skip_special_tokens)

    def answer() -> Response:
        text = served.tokenizer.decode(request.tokens, skip_special_tokens=skip)
        return JsonResponse({"content": text, "prompt": text})

    return await asyncio.to_thread(answer)


def info(served: Served) -> Response:
    """Special tokens and chat template, which a client of the tokenizer needs."""
    model = served.model.quantized
    return JsonResponse(tokenizer_config(model.special_ids, model.chat_template, served.tokenizer))


def _pieces(ids: list[int], served: Served) -> list[dict[str, Any]]:
    """Each token's id and text; a part of a character has its bytes."""
    words = Words(served.tokenizer)
    found = []
    for token in ids:
        text, data = words.of(token)
        whole = data is None or text.encode() == bytes(data)
        found.append({"id": token, "piece": text if whole else data})
    return found


def _most(served: Served, settings: Settings) -> int:
    """Tokens that a sequence may have, prompt included."""
    allowed = settings.max_prompt + settings.max_tokens
    return min(allowed, served.backend.context or allowed)
