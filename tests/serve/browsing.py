"""The page at `/` as people use it, in headless Chromium."""

import json
import shutil

import pytest

from tests.serve.running import expected

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
KEY = "a-key-of-ours"  # of the server of a model without a chat template

chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is missing: apt-get install chromium"
)


def expect(page, place: str):
    """Waits by the browser's tool, which runs no code in the page: its policy forbids that."""
    from playwright.sync_api import expect as waiting

    return waiting(page.locator(place))


def opened(page, server) -> None:
    """Open the page of a server, and give its key."""
    page.goto(server.url)
    expect(page, "#go").to_be_enabled()
    if server.settings.api_key:
        page.fill("#key", server.settings.api_key)


def generate(page, prompt: str, seed: str = "", tokens: str = "40") -> None:
    """Generate to the end, whatever it is."""
    page.fill("#prompt", prompt)
    page.fill("#seed", seed)
    page.fill("#max_tokens", tokens)
    page.click("#go")
    expect(page, "#go").to_be_enabled()


def answered(page):
    """Text of the last answer."""
    return page.locator(".answer").last.text_content()


def expected_chat(server, model, messages, **sampling):
    """Answer of `generate` to messages by the template of the tests' model."""
    text = "".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant:"
    ids = server.served.tokenizer.encode(text, add_special_tokens=False)
    return expected(model, ids, 40, **{"temperature": 0.8} | sampling).text


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def stream(*events, end: str = "data: [DONE]\n\n"):
    """A route's handler that answers with these events."""
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + end
    return lambda route: route.fulfill(body=body, content_type="text/event-stream")
