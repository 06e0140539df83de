"""A server in a thread of this process, on a free port, and what `generate` would answer."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import httpx2
import numpy as np
import openai
import uvicorn

from lightmamba.engine import Engine
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.serve import Scheduler, Served, Settings, create_app
from lightmamba.serve.backend import EngineBackend
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.server import configured
from lightmamba.text import Continuation, Generation, ModelDrafter, NgramDrafter, Step
from lightmamba.text.defaults import sampling_options
from lightmamba.text.model import Model
from lightmamba.text.pace import MOST

CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
LIST = "one and two and three; one and two and three; one and two and three; one and"
TEXT = "It was a truth, and she had not the least idea of it when he came to them again."


class Said:
    """An answer as the official client has it, of one chunk if it was not streamed."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks, self.usage = chunks, chunks[-1].usage
        self.choices: dict[int, list[Any]] = {}  # their parts
        for choice in (choice for chunk in chunks for choice in chunk.choices):
            self.choices.setdefault(choice.index, []).append(choice)

    @property
    def texts(self) -> list[str]:
        """Text of each choice."""
        parts = [self.choices[index] for index in range(len(self.choices))]
        return ["".join(_text(choice) for choice in mine) for mine in parts]

    @property
    def text(self) -> str:
        """Text of the first choice."""
        return self.texts[0]

    @property
    def reasons(self) -> list[str | None]:
        """Why each choice has ended."""
        return [self.choices[index][-1].finish_reason for index in range(len(self.choices))]


def _text(choice: Any) -> str:
    said = getattr(choice, "delta", None) or getattr(choice, "message", None)
    return str(choice.text if said is None else said.content or "")


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Parameters
    ----------
    url
        Without a path.
    served, settings, scheduler, metrics
        Of the server.
    closing
        Closes the clients in the end.
    """

    url: str
    served: Served
    settings: Settings
    scheduler: Scheduler
    metrics: Metrics
    closing: ExitStack

    def client(self, **options: Any) -> Any:
        """The official client; it retries nothing by default."""
        given: dict[str, Any] = {
            "api_key": self.settings.api_key or "none",
            "max_retries": 0,
        } | options
        client = openai.OpenAI(base_url=f"{self.url}/v1", **given)
        return self.closing.enter_context(client)

    @cached_property
    def _client(self) -> Any:
        return self.client(timeout=300)

    def ask(self, *, stream: Any = False, **asked: Any) -> Said:
        """Ask for a completion, or where there are messages for the answer of a chat."""
        kind = self._client.chat if "messages" in asked else self._client
        if not stream:
            return Said([kind.completions.create(model="demo", **asked)])
        options = {"include_usage": True}
        given = {"model": "demo", "stream": True, "stream_options": options} | asked
        return Said(list(kind.completions.create(**given)))

    def http(self) -> httpx2.Client:
        """A plain client."""
        return self.closing.enter_context(httpx2.Client(base_url=self.url, timeout=60))

    def total(self, name: str) -> int:
        """A counter."""
        return self.metrics.total(name)


class Eager(Drafts):
    """Drafts as many tokens as there is room for, whether it pays or not."""

    def _counts(self, sessions, room):
        found = []
        for one in sessions:
            found.append(max(0, min(self.most, room, one.text.left - 1)))
            room -= found[-1]
        return found


def request(n: int) -> dict[str, Any]:
    """One of many requests: prompts of some lengths, of which some repeat themselves."""
    return {
        "prompt": " ".join(TEXT.split()[n % 7 : 8 + n % 9]) if n % 4 else LIST,
        "max_tokens": 16 + n % 8, "seed": n, "temperature": (0, 0.8, 1.2)[n % 3],
    }  # fmt: skip


def served(
    model: QuantizedModel, *, slots: int | None = None, threads: int = 1, drafter: str = ""
) -> Served:
    """A model on the engine, as `open_served` gives it; the drafter is "ngram" or "itself"."""
    engine = Engine(model, threads=threads)
    drafters: dict[str, Any] = {
        "": None, "ngram": lambda: NgramDrafter(4, 2),
        "itself": lambda: ModelDrafter(engine, engine),
    }  # fmt: skip
    backend = EngineBackend(engine, slots, MOST if drafter else 0)
    return Served("demo", backend, Model(model), "f" * 64, drafters[drafter])


@contextmanager
def running(given: Served, **settings: Any) -> Iterator[Running]:
    """Run a server while the block runs."""
    chosen = Settings(port=0, **settings)
    app = create_app(given, chosen)
    server = uvicorn.Server(configured(app, chosen))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        state = app.state
        with ExitStack() as closing:
            yield Running(
                f"http://127.0.0.1:{port}", given, chosen, state.scheduler, state.metrics, closing
            )
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def expected(
    model: QuantizedModel,
    prompt: Any,
    max_tokens: Any,
    *,
    stream: Any = 0,
    seed: Any = 0,
    **sampling: Any,
) -> Generation:
    """The text of `lightmamba generate` after a text or ids: an engine of its own, one sequence.

    ``stream`` is the random stream of a further choice.
    """
    ours = Model(model)
    ids = ours.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    options = sampling_options(model.generation_config, seed=seed, **sampling)[0]
    if not stream:
        return Generation.from_steps(ours.steps(ids, max_tokens=max_tokens, sampling=options))
    engine, steps = ours.engine, list[Step]()
    text = Continuation(
        engine, ids, max_tokens=max_tokens, sampling=options, stop_ids=ours.stop_ids,
        tokenizer=ours.tokenizer, stream=stream,
    )  # fmt: skip
    logits, state = engine.forward(text.prompt[None], engine.empty_state(1))
    while not steps or steps[-1].finish_reason is None:
        steps.append(text.take(logits[:, -1]))
        logits, state = engine.forward(np.array([[steps[-1].token_id]]), state)
    return Generation.from_steps(steps)


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    """Return when something has become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def with_chat(model: QuantizedModel, config: Mapping[str, Any] | None = None) -> QuantizedModel:
    """The same model with a chat template and a generation config."""
    return replace(model, chat_template=CHAT, generation_config=dict(config or {}))
