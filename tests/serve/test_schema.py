"""The OpenAPI description: requests made from it, right and wrong ones, never break the server."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serve.running import running, served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance,
          response_schema_conformance]  # fmt: skip


@pytest.fixture(scope="module")
def described(model):
    with running(served(model), max_tokens=8, max_prompt=200) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


OPERATIONS = [
    ("/v1/completions", "post"), ("/v1/chat/completions", "post"), ("/v1/models", "get"),
    ("/v1/models/{name}", "get"), ("/health", "get"), ("/metrics", "get"), ("/tokenize", "post"),
    ("/detokenize", "post"), ("/tokenizer_info", "get"),
]  # fmt: skip


MAIN = ("prompt", "messages", "content", "tokens")
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


CASES = [(*o, POSITIVE) for o in OPERATIONS] + [
    (*o, NEGATIVE) for o in OPERATIONS if o[1] == "post"
]
# `make fuzz` says how many requests it wants in all.
EXAMPLES = -(-int(os.environ.get("LIGHTMAMBA_REQUESTS", "0")) // len(CASES))


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_no_request_breaks_the_server(described, path, method, mode):
    operation = described[path][method]
    statuses, examples = set(), EXAMPLES or (60 if "chat" in path else 25)  # of chats most options

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None,
        derandomize=not EXAMPLES,
    )  # fmt: skip
    def call(case):
        if mode == POSITIVE and isinstance(case.body, dict):
            case.body.pop("model", None)  # any name is right by the description, but one is served
            if len(str(case.body)) % 2:  # with many options there is mostly one out of its limit
                case.body = dict([(k, v) for k, v in case.body.items() if k in MAIN][:1])
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    call()
    if method == "post":
        assert statuses >= ({400} if mode == NEGATIVE else {200}), statuses


def test_the_description_names_every_path(server):
    paths = server.http().get("/openapi.json").json()["paths"]
    assert sorted((p, m) for p, found in paths.items() for m in found) == sorted(OPERATIONS)
