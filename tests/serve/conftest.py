"""One server of the bundled model for all tests that leave it as it is, and a browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
from tests.serve.browsing import CHROMIUM, KEY
from tests.serve.running import Running, expected, request, running, served, with_chat


@pytest.fixture(scope="session")
def model() -> QuantizedModel:
    """The bundled model, with a chat template that it was never trained on."""
    return with_chat(load(demo_file()))


@pytest.fixture(scope="session")
def server(model: QuantizedModel) -> Iterator[Running]:
    with running(served(model)) as found:
        yield found


@pytest.fixture(scope="session")
def wanted(model: QuantizedModel) -> Callable[[int], str]:
    """Text that `generate` writes to each of many requests."""
    return cache(lambda n: expected(model, **request(n)).text)


@pytest.fixture(scope="module")
def plain(model: QuantizedModel) -> Iterator[Running]:
    """A server of the model without a chat template, which asks for a key."""
    with running(served(replace(model, chat_template=None)), api_key=KEY) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; its event loop runs in this thread, so other modules must not meet it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


PHONE = 390  # pixels
TOO_WIDE = """width => [document.documentElement, ...document.querySelectorAll("body, body *")]
    .filter(node => Math.max(node.getBoundingClientRect().right, node.scrollWidth) > width)
    .map(node => node.outerHTML)"""


@pytest.fixture(params=[1280, PHONE])
def page(browser: Any, request: Any) -> Iterator[Any]:
    """A page as wide as a laptop or a phone.

    In the end there must be no error in the console, such as a style or script that the page's
    policy forbids, nothing wider than the screen, and no button that is too small to tap.
    """
    width = request.param
    made = browser.new_page(viewport={"width": width, "height": 844}, is_mobile=width == PHONE)
    made.errors, made.asked = [], []
    made.on("pageerror", lambda error: made.errors.append(str(error)))
    made.on("console", lambda said: made.errors.append(said.text) if said.type == "error" else None)
    made.on("request", lambda asked: made.asked.append(asked))
    yield made
    assert not [said for said in made.errors if not said.startswith("Failed to load resource")]
    assert made.evaluate(TOO_WIDE, width) == []
    buttons = made.locator("button:visible").all()
    assert len(buttons) >= 2
    assert min(button.bounding_box()["height"] for button in buttons) >= 44
    made.close()
