"""One server of the bundled model for all tests that leave it as it is."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
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
