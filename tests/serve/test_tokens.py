"""/tokenize and /detokenize, in the forms of llama.cpp and of vLLM."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lightmamba.model.tokenizer import Tokenizer
from tests.serve.running import CHAT, running, served
from tests.serve.test_refused import error

TEXT = "It is a truth — “I am” £"


def answered(server, path, **body):
    found = server.http().post(path, json=body)
    assert found.status_code == 200, found.text
    return found.json()


@pytest.fixture(scope="module")
def framed(model):
    """A server whose tokenizer puts a special token in front of a text."""
    data = json.loads(model.tokenizer)
    token = data["added_tokens"][0]
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token["content"], "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token["content"]: {
            "id": token["content"], "ids": [token["id"]], "tokens": [token["content"]]}},
    }  # fmt: skip
    with running(served(replace(model, tokenizer=json.dumps(data).encode()))) as found:
        yield found, token


def test_the_tokens_are_those_of_a_completion(server):
    """Text and ids of both forms, there and back."""
    ids = server.served.tokenizer.encode(TEXT).tolist()
    for name in ("content", "prompt"):
        found = answered(server, "/tokenize", model="demo", **{name: TEXT})
        assert found == {"tokens": ids, "count": len(ids), "token_strs": None,
                         "max_model_len": 32_768 + 4096}  # fmt: skip
        assert answered(server, "/detokenize", tokens=ids)[name] == TEXT
    assert answered(server, "/tokenize", content="")["tokens"] == []
    assert answered(server, "/detokenize", tokens=[])["content"] == ""


def test_words_and_pieces(server):
    tokenizer = server.served.tokenizer
    found = answered(server, "/tokenize", content=TEXT, with_pieces=True, return_token_strs=True)
    ids = [token["id"] for token in found["tokens"]]
    assert ids == tokenizer.encode(TEXT).tolist()
    pieces = [token["piece"] for token in found["tokens"]]
    assert any(isinstance(piece, list) for piece in pieces)
    data = (piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)
    assert b"".join(data).decode() == TEXT
    assert found["token_strs"] == [tokenizer.token(token) for token in ids]


def test_special_tokens_are_each_client_s_default(framed):
    server, token = framed
    bare = answered(server, "/tokenize", content="Who")["tokens"]
    for given in (
        {"prompt": "Who"}, {"content": "Who", "add_special": True},
        {"content": "Who", "add_special_tokens": True},
    ):  # fmt: skip
        ids = answered(server, "/tokenize", **given)["tokens"]
        assert ids == [token["id"], *bare]
    assert answered(server, "/tokenize", prompt="Who", add_special_tokens=False)["tokens"] == bare
    spelled = answered(server, "/tokenize", content=f"{token['content']}Who")["tokens"]
    assert spelled == [token["id"], *bare]
    assert answered(server, "/detokenize", tokens=ids)["content"] == f"{token['content']}Who"
    without = answered(server, "/detokenize", tokens=ids, skip_special_tokens=True)
    assert without["content"] == "Who"


def test_a_chat_is_counted_by_its_template(server):
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    found = answered(server, "/tokenize", messages=messages)
    asked = {"messages": messages, "max_tokens": 1}
    usage = answered(server, "/v1/chat/completions", **asked)["usage"]
    assert found["count"] == len(found["tokens"]) == usage["prompt_tokens"]
    text = answered(server, "/detokenize", tokens=found["tokens"])["content"]
    assert text == "system: Be brief.\nuser: Who?\nassistant:"


def test_the_tokenizer_is_described(server):
    found = server.http().get("/tokenizer_info").json()
    token = "<|endoftext|>"
    assert found == {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "bos_token": token, "eos_token": token, "pad_token": token, "chat_template": CHAT,
    }  # fmt: skip


def test_a_device_s_memory_limits_the_context(server, monkeypatch):
    monkeypatch.setattr(server.served.backend, "context", 1000)
    assert answered(server, "/tokenize", content="x")["max_model_len"] == 1000


def test_ten_megabytes_are_refused(server):
    found = server.http().post("/tokenize", json={"content": "x " * 5_000_000})
    assert "larger than 1048576 bytes; shorten it" in error(found, 413)["message"]


def test_long_texts_do_not_hold_up_the_others(model, monkeypatch):
    """They are tokenized in threads of their own, so short requests are answered meanwhile."""
    begun, answered_others = threading.Event(), threading.Event()
    encode = Tokenizer.encode

    def slow(self, text, **options):
        if len(text) > 1000:
            begun.set()
            assert answered_others.wait(60)
        return encode(self, text, **options)

    monkeypatch.setattr(Tokenizer, "encode", slow)
    with running(served(model)) as server:
        long = {"content": "x " * 5000}
        with ThreadPoolExecutor(40) as pool:  # more than Python has threads for such work
            found = [pool.submit(server.http().post, "/tokenize", json=long) for _ in range(40)]
            try:
                assert begun.wait(60)
                others = server.http()
                assert others.get("/health").status_code == 200
                question = {"messages": [{"role": "user", "content": "Who?"}]}
                for path, body in (
                    ("/v1/completions", {"prompt": "A", "max_tokens": 2}),
                    ("/v1/chat/completions", question | {"max_tokens": 2}),
                    ("/tokenize", question),
                    ("/detokenize", {"tokens": [1, 2]}),
                ):
                    assert others.post(path, json=body, timeout=20).status_code == 200
            finally:
                answered_others.set()
        answers = [each.result() for each in found]
    assert {answer.status_code for answer in answers} == {200}
    assert min(answer.json()["count"] for answer in answers) >= 5000
