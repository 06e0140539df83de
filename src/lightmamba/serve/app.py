"""The web application: paths, and errors in OpenAI's form."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata, resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from lightmamba.common.errors import InputError, shown
from lightmamba.serve import prepare
from lightmamba.serve.answer import Form, answer, stream
from lightmamba.serve.described import (
    RESPONSES,
    STREAMS,
    ChatCompletion,
    Completion,
    Health,
    Models,
)
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import ApiError, JsonResponse, invalid
from lightmamba.serve.guard import Guard
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.opened import Served
from lightmamba.serve.prefix import PrefixCache
from lightmamba.serve.scheduler import Scheduler
from lightmamba.serve.schema import ChatRequest, CompletionRequest
from lightmamba.serve.settings import Settings
from lightmamba.serve.tokens import add_tokens

__all__ = ["create_app"]


def create_app(served: Served, settings: Settings) -> FastAPI:
    """The ASGI application of a model; its lifespan starts and ends the scheduler.

    ``app.state`` has the ``scheduler`` and the ``metrics``.
    """
    metrics = Metrics(served.name, served.backend.device)
    cache = PrefixCache(settings.cache_bytes, served.backend.saved_bytes)
    drafts = (
        Drafts(served.drafter, served.backend.undecided) if served.drafter is not None else None
    )
    scheduler = Scheduler(
        served.backend, cache, metrics, queue=settings.queue, drafts=drafts, written=served.written
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        scheduler.start()
        yield
        await asyncio.to_thread(scheduler.close)  # waits for the pass that runs

    app = FastAPI(
        title="LightMamba", version=metadata.version("lightmamba"), lifespan=lifespan,
        description=f"The completions of {served.name}, in OpenAI's form.",
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.scheduler, app.state.metrics = scheduler, metrics

    def count(path: str, status: int) -> None:
        metrics.count("requests", 1, path if path in paths else "other", status)

    app.add_middleware(Guard, settings=settings, count=count)
    _add_errors(app)
    _add_answers(app, served, settings, scheduler)
    add_tokens(app, served, settings)
    _add_views(app, served, scheduler, metrics)
    if settings.page:
        _add_page(app)
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    return app


def _add_answers(app: FastAPI, served: Served, settings: Settings, scheduler: Scheduler) -> None:
    async def given(
        request: Request, form: Form, body: CompletionRequest | ChatRequest
    ) -> Response:
        if body.stream:
            wanted = body.stream_options is not None and body.stream_options.include_usage
            return stream(scheduler, form, usage=wanted)
        if body.stream_options is not None:
            raise ApiError(400, "stream_options needs stream: true", param="stream_options")
        return await answer(request, scheduler, form)

    @app.post("/v1/completions", response_model=Completion, responses=STREAMS | RESPONSES)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Go on from a prompt."""
        asked = await prepare.completion(body, served, settings)
        return await given(request, Form(served, asked, chat=False), body)

    @app.post("/v1/chat/completions", response_model=ChatCompletion, responses=STREAMS | RESPONSES)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a chat, by the checkpoint's template."""
        asked = await prepare.chat(body, served, settings)
        return await given(request, Form(served, asked, chat=True), body)


def _add_views(app: FastAPI, served: Served, scheduler: Scheduler, metrics: Metrics) -> None:
    model = {"id": served.name, "object": "model", "created": int(time.time()),
             "owned_by": "lightmamba", "fingerprint": served.fingerprint}  # fmt: skip

    @app.get("/v1/models", response_model=Models)
    async def models() -> Response:
        """The model that is served."""
        return JsonResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{name:path}", responses=RESPONSES)
    async def one_model(name: str) -> Response:
        """The model, if it has this name."""
        prepare.check_model(name, served)
        return JsonResponse(model)

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server takes requests: 200, or 503 while it stops or after a failure."""
        good = scheduler.alive and not (scheduler.draining or scheduler.broken)
        status = "ok" if good else "failed" if scheduler.broken else "stopping"
        said = {
            "status": status, "model": served.name, "device": served.backend.device,
            "chat": served.model.quantized.chat_template is not None, "slots": served.backend.slots,
            "running": scheduler.running, "waiting": scheduler.waiting,
        }  # fmt: skip
        return JsonResponse(said, 200 if good else 503)

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")

    def source(tag: str) -> str:
        """Hash of the page's own script or style, as a policy writes it."""
        text = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    policy = (
        f"default-src 'none'; script-src {source('script')}; style-src {source('style')}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def root() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(InputError)
    async def bad_input(_: Request, error: InputError) -> Response:
        return ApiError(400, str(error)).response()

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        if "json" not in kind:  # without it the body is bytes, whatever it holds
            message = "the body must be a JSON object; send it with Content-Type: application/json"
            return ApiError(400, message).response()
        return invalid(error.errors()).response()

    @app.exception_handler(HTTPException)
    async def wrong_path(request: Request, error: HTTPException) -> Response:
        messages = {
            400: "the body is not JSON in UTF-8",
            404: f"there is nothing at {shown(request.url.path)}; try /v1/completions",
            405: f"{shown(request.url.path)} does not take {request.method}",
        }
        message = messages.get(error.status_code, str(error.detail))
        return ApiError(error.status_code, message, headers=error.headers).response()

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return ApiError(500, "the server failed; its log says why", code="failed").response()
