"""The page at `/`: conversations, completions, options, errors; the fixture has more checks."""

import re

from tests.serve.browsing import (
    KEY,
    answered,
    assistant,
    chromium,
    expect,
    expected_chat,
    generate,
    opened,
    stream,
    user,
)
from tests.serve.running import expected
from tests.serve.test_refused import error
from tests.serve.test_stop import started


@chromium
def test_it_writes_what_generate_writes(page, server, model, request):
    opened(page, server)
    expect(page, "#device").to_have_text("engine")
    generate(page, "It is a truth", str(2**63 + 1))
    assert answered(page) == expected_chat(server, model, [user("It is a truth")], seed=2**63 + 1)
    assert page.inner_text("#count") == "40"
    assert float(page.inner_text("#rate")) > 1
    assert page.inner_text("#used") == str(2**63 + 1)
    assert page.inner_text("#model") == "demo"
    assert re.fullmatch(r"\d+ ms", page.inner_text("#first"))
    assert all(asked.url.startswith(server.url) for asked in page.asked), "the page asks others"
    assert page.is_hidden("#keybox")
    page.screenshot(path=str(request.config.rootpath / ".pytest_cache" / "page.png"))


@chromium
def test_without_a_template_the_text_goes_on_and_the_key_is_asked_for(page, plain, model):
    page.goto(plain.url)
    expect(page, "#keybox").to_be_visible()
    generate(page, "She <b>was</b> &amp;", "5")
    expect(page, "#error").to_contain_text("the API key is missing or wrong")
    page.fill("#key", KEY)
    for _ in range(2):  # the second text takes the place of the first
        page.click("#go")
        expect(page, "#rate").not_to_have_text("–")
        wanted = expected(model, "She <b>was</b> &amp;", 40, seed=5, temperature=0.8).text
        assert page.text_content("#text") == "She <b>was</b> &amp;" + wanted
        assert page.input_value("#prompt") == "She <b>was</b> &amp;"
        assert page.inner_text("#error") == ""
    assert page.is_hidden("#new")
    assert page.is_visible("#keybox")  # if it went, what is clicked next would move


@chromium
def test_a_conversation_has_several_turns_and_begins_anew(page, server, model):
    opened(page, server)
    turns = []
    for seed, said in enumerate(("Who <is>\n  she?", "Why?", "No.")):
        generate(page, said, str(seed))
        turns.append(user(said))
        assert page.asked[-1].post_data_json["messages"] == turns
        turns.append(assistant(expected_chat(server, model, turns, seed=seed)))
        assert page.input_value("#prompt") == ""
        assert page.locator("#text > *").all_text_contents() == [m["content"] for m in turns]
    page.click("#new")
    assert page.text_content("#text") == ""
    assert page.inner_text("#rate") == "–"
    turns = [user("x" * 300)]  # wider than the screen
    generate(page, "x" * 300, "4")
    assert page.asked[-1].post_data_json["messages"] == turns
    assert answered(page) == expected_chat(server, model, turns, seed=4)


@chromium
def test_a_running_text_can_be_stopped_and_is_kept(page, server):
    before = server.total("cancelled_requests")
    opened(page, server)
    page.fill("#prompt", "It was a")
    page.fill("#max_tokens", "4000")
    page.click("#go")
    expect(page, ".answer").to_have_text(re.compile(".{40}", re.DOTALL))
    assert page.is_disabled("#new")
    page.click("#stop")
    expect(page, "#go").to_be_enabled()
    for _ in range(200):
        if server.scheduler.running == 0:
            break
        page.wait_for_timeout(20)
    assert server.scheduler.running == 0
    assert server.total("cancelled_requests") == before + 1
    assert page.inner_text("#error") == ""
    kept = answered(page)
    assert len(kept) >= 40
    generate(page, "And then?")
    turns = [user("It was a"), assistant(kept), user("And then?")]
    assert page.asked[-1].post_data_json["messages"] == turns


@chromium
def test_a_turn_that_is_stopped_before_it_has_text_is_taken_back(page, server):
    opened(page, server)
    page.route("**/v1/chat/completions", lambda route: None)  # it never answers
    page.fill("#prompt", "It was a")
    page.click("#go")
    page.click("#stop")
    expect(page, "#go").to_be_enabled()
    assert page.inner_text("#error") == ""
    assert page.input_value("#prompt") == "It was a"
    assert page.text_content("#text") == ""


@chromium
def test_an_error_leaves_the_conversation_as_it_was(page, server, model):
    opened(page, server)
    generate(page, "Who?", "1")
    turns = [user("Who?"), assistant(answered(page))]
    shown = page.text_content("#text")
    generate(page, "Why?", "2", tokens="5000")
    failures = [f"generates at most {server.settings.max_tokens}"]
    chunk = {"choices": [{"index": 0, "delta": {"content": "Part of it"}, "logprobs": None}]}
    for handler, sentence in (
        (stream(chunk, {"error": {"message": "the device failed"}}), "the device failed"),
        (stream(chunk, end=""), "closed the connection before the end of the answer"),
        (lambda route: route.abort(), "Failed to fetch"),
    ):
        expect(page, "#error").to_contain_text(failures[-1])
        assert page.input_value("#prompt") == "Why?"
        assert page.text_content("#text") == shown
        page.route("**/v1/chat/completions", handler)
        page.click("#go")
        failures.append(sentence)
        expect(page, "#error").to_contain_text(sentence)
        page.unroute("**/v1/chat/completions")
    generate(page, page.input_value("#prompt"), "2")
    assert page.inner_text("#error") == ""
    turns.append(user("Why?"))
    assert page.asked[-1].post_data_json["messages"] == turns
    assert answered(page) == expected_chat(server, model, turns, seed=2)


@chromium
def test_what_is_empty_is_not_sent(page, server, model):
    opened(page, server)
    generate(page, "Who?", "3")
    assert not {"top_p", "top_k", "logprobs"} & page.asked[-1].post_data_json.keys()
    page.click("#new")
    page.fill("#top_p", "0.9")
    page.fill("#top_k", "30")
    generate(page, "Who?", "3")
    given = {"top_p": 0.9, "top_k": 30}
    assert page.asked[-1].post_data_json.items() >= given.items()
    assert answered(page) == expected_chat(server, model, [user("Who?")], seed=3, **given)
    page.click("#new")
    for name in ("temperature", "top_p", "top_k"):
        page.fill(f"#{name}", "")
    generate(page, "Who?", "3")
    assert "temperature" not in page.asked[-1].post_data_json
    assert answered(page) == expected_chat(server, model, [user("Who?")], seed=3, temperature=0)


def test_it_is_one_file_that_runs_only_its_own(server):
    """No style, script, picture or font from elsewhere, and the browser is told so."""
    found = server.http().get("/")
    assert found.status_code == 200
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?:", found.text)
    assert not re.findall(r"<[^>]*\s(?:style|on\w+)\s*=", found.text.split("<script>")[0])
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_no_page():
    with started("--no-page") as (http, _):
        said = error(http.get("/"), 404)["message"]
        assert said == "there is nothing at '/'; try /v1/completions"
        assert http.get("/v1/models").status_code == 200
