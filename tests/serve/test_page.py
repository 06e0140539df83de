"""The page at `/`, in headless Chromium."""

import re
import shutil
from dataclasses import replace

import pytest

from lightmamba.text import Generation
from tests.serve.running import expected, running, served
from tests.serve.test_refused import error
from tests.serve.test_stop import started

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is missing: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def page(browser):
    made = browser.new_page(viewport={"width": 900, "height": 720})
    made.errors = []
    made.on("pageerror", lambda error: made.errors.append(str(error)))
    made.on("console", lambda said: made.errors.append(said.text) if said.type == "error" else None)
    yield made
    made.close()


def expect(page, place: str):
    """Waits by the browser's tool, which runs no code in the page: its policy forbids that."""
    from playwright.sync_api import expect as waiting

    return waiting(page.locator(place))


def generate(page, prompt: str, seed: str) -> None:
    page.fill("#prompt", prompt)
    page.fill("#seed", seed)
    page.fill("#tokens", "40")
    page.click("#go")


@chromium
def test_it_writes_what_generate_writes(page, server, model, request):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    expect(page, "#device").to_have_text("engine")
    generate(page, "It is a truth", str(2**63 + 1))
    expect(page, "#rate").not_to_have_text("–")
    text = page.inner_text("#text")
    assert text == answered(server, model).text
    assert page.inner_text("#count") == "40"
    assert float(page.inner_text("#rate")) > 1
    assert page.inner_text("#used") == str(2**63 + 1)
    assert page.inner_text("#model") == "demo"
    assert re.fullmatch(r"\d+ ms", page.inner_text("#first"))
    assert not page.errors
    assert all(url.startswith(server.url) for url in asked), "the page asks others"
    assert page.is_hidden("#keybox")
    page.screenshot(path=str(request.config.rootpath / ".pytest_cache" / "page.png"))


def answered(server, model) -> Generation:
    """The bundled model has a template here, so that the page makes a chat of the prompt."""
    text = "user: It is a truth\nassistant:"
    ids = server.served.tokenizer.encode(text, add_special_tokens=False)
    return expected(model, ids, 40, seed=2**63 + 1, temperature=0.8)


@chromium
def test_a_running_text_can_be_stopped(page, server):
    before = server.total("cancelled_requests")
    page.goto(server.url)
    page.fill("#tokens", "4000")
    page.click("#go")
    expect(page, "#text").to_have_text(re.compile(".{40}", re.DOTALL))
    page.click("#stop")
    expect(page, "#go").to_be_enabled()
    for _ in range(200):
        if server.scheduler.running == 0:
            break
        page.wait_for_timeout(20)
    assert server.scheduler.running == 0
    assert server.total("cancelled_requests") == before + 1
    assert page.inner_text("#error") == ""


@chromium
def test_without_a_template_the_text_goes_on_and_the_key_is_asked_for(page, model):
    with running(served(replace(model, chat_template=None)), api_key="a-key-of-ours") as server:
        page.goto(server.url)
        expect(page, "#keybox").to_be_visible()
        generate(page, "She <b>was</b> &amp;", "5")
        expect(page, "#error").to_contain_text("the API key is missing or wrong")
        page.fill("#key", "a-key-of-ours")
        page.click("#go")
        expect(page, "#rate").not_to_have_text("–")
        wanted = expected(model, "She <b>was</b> &amp;", 40, seed=5, temperature=0.8).text
        assert page.text_content("#text") == "She <b>was</b> &amp;" + wanted
        assert page.inner_text("#error") == ""


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
