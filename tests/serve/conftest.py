"""One server of the bundled model for all tests that leave it as it is."""

from collections.abc import Iterator

import pytest

from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
from tests.serve.running import Running, running, served, with_chat


@pytest.fixture(scope="session")
def model() -> QuantizedModel:
    """The bundled model, with a chat template that it was never trained on."""
    return with_chat(load(demo_file()))


@pytest.fixture(scope="session")
def server(model: QuantizedModel) -> Iterator[Running]:
    with running(served(model)) as found:
        yield found
