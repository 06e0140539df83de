"""Text to tokens and back, for clients that count or cut what they send.

The requests of llama.cpp and of vLLM are both accepted, and an answer has the fields of both.
"""

from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from lightmamba.serve.described import RESPONSES, Detokenized, Tokenized, TokenizerInfo
from lightmamba.serve.errors import ApiError, JsonResponse
from lightmamba.serve.logprobs import Words
from lightmamba.serve.opened import Served
from lightmamba.serve.prepare import check_model, rendered, tokenized
from lightmamba.serve.schema import DetokenizeRequest, TokenizeRequest
from lightmamba.serve.settings import Settings
from lightmamba.text.chat import tokenizer_config

__all__ = ["add_tokens"]


def add_tokens(app: FastAPI, served: Served, settings: Settings) -> None:
    """Add the paths of the tokenizer."""

    @app.post("/tokenize", response_model=Tokenized, responses=RESPONSES)
    async def tokenize(body: TokenizeRequest) -> Response:
        """Split a text or a chat into tokens, and count them."""
        check_model(body.model, served)
        if sum(x is not None for x in (body.content, body.prompt, body.messages)) != 1:
            raise ApiError(
                400, 'give one of content, prompt and messages; for example {"content": "It was a"}'
            )
        if None not in (body.add_special, body.add_special_tokens):
            raise ApiError(
                400,
                "add_special and add_special_tokens mean the same; give one of them",
                param="add_special",
            )
        special = body.add_special_tokens if body.add_special is None else body.add_special
        if special is None:
            special = body.prompt is not None
        if body.messages is not None:
            text = await rendered(body.messages, served)
        else:
            text = body.content or body.prompt or ""

        def answer() -> Response:
            ids = served.tokenizer.encode(text, add_special_tokens=special).tolist()
            allowed = settings.max_prompt + settings.max_tokens
            found: dict[str, Any] = {
                "tokens": _pieces(ids, served) if body.with_pieces else ids, "count": len(ids),
                "max_model_len": min(allowed, served.backend.context or allowed),
                "token_strs": None,
            }  # fmt: skip
            if body.return_token_strs:
                found["token_strs"] = [served.tokenizer.token(token) or "" for token in ids]
            return JsonResponse(found)

        return await tokenized(len(text), answer)

    @app.post("/detokenize", response_model=Detokenized, responses=RESPONSES)
    async def detokenize(body: DetokenizeRequest) -> Response:
        """Turn tokens into text."""
        check_model(body.model, served)
        skip = bool(body.skip_special_tokens)

        def answer() -> Response:
            text = served.tokenizer.decode(body.tokens, skip_special_tokens=skip)
            return JsonResponse({"content": text, "prompt": text})

        return await tokenized(len(body.tokens), answer)

    @app.get("/tokenizer_info", response_model=TokenizerInfo)
    async def tokenizer_info() -> Response:
        """Special tokens and chat template, as in a tokenizer_config.json."""
        model = served.model.quantized
        return JsonResponse(
            tokenizer_config(model.special_ids, model.chat_template, served.tokenizer)
        )


def _pieces(ids: list[int], served: Served) -> list[dict[str, Any]]:
    """Each token's id and text; a part of a character has its bytes."""
    words = Words(served.tokenizer)
    found = []
    for token in ids:
        text, data = words.of(token)
        whole = data is None or text.encode() == bytes(data)
        found.append({"id": token, "piece": text if whole else data})
    return found
