"""Chat templates: the same text as transformers, and no stranger's code."""

import multiprocessing
import resource
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from lightmamba.common.errors import InputError
from lightmamba.text import chat, render_chat
from tests.support.chats import CHATML, CHATS, TEMPLATES

WORDS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_text_is_that_of_transformers(template, messages, add):
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    (wanted,), _ = utilities.render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=add, **WORDS
    )
    ours = render_chat(template, messages, special_tokens=WORDS, add_generation_prompt=add)
    assert ours == wanted


def test_worked_text():
    text = render_chat(CHATML, CHATS["both"], special_tokens=WORDS)
    assert text == "<s><|system|>Be brief.\n<|user|>Hello<|assistant|>\n"


def test_the_date_of_today():
    template = "{{ strftime_now('%Y') }}"
    assert int(render_chat(template, CHATS["user"])) in (
        datetime.now().year,
        datetime.now().year - 1,
    )


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ raise_exception('no\nsystem here') }}", "template refuses this: no system here"),
        ("{% if %}", "template refuses this: Expected an expression"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "template refuses this: access"),
        ("{{ ''.__class__ }}{{ ''.__class__.__name__ }}", "template refuses this: access to"),
        ("{{ messages.append(1) }}", "template refuses this: access to attribute 'append'"),
        ("{% include '/etc/passwd' %}", "template (refuses this|fails): "),
        ("{{ range(10000000) }}", "template fails: Range too big"),
        ("{{ messages[0].content + 3 }}", "template fails: can only concatenate str"),
        ("{{ 1 // 0 }}", "template fails: .*division"),
        ("{{ nothing.at.all }}", "template refuses this: 'nothing' is undefined"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template fails: it never ends"),
    ],
)
def test_templates_that_cannot_be(template, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        render_chat(template, CHATS["user"])
    assert "\n" not in str(caught.value)


TOO_LONG = {
    "nested": "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "filtered": "{% set r = range(99999) %}{% for a in r %}{% for b in r if b < 0 %}{% endfor %}"
                "{% endfor %}",
    "macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
             "{{ m(40) }}",
    "recursive": "{% for a in [1] recursive %}{{ loop(range(999)) if loop.depth < 9 }}{% endfor %}",
    "power": "{{ 9 ** (9 ** 9) }}",
}  # fmt: skip
TOO_MUCH = {
    "product": "{{ 'a' * 10 ** 10 }}", "method": "{{ 'a'.ljust(10 ** 10) }}",
    "format": "{{ '%9999999999d' % 1 }}",
}  # fmt: skip


@pytest.mark.parametrize("template", TOO_LONG.values(), ids=TOO_LONG)
def test_a_template_that_takes_too_long_is_refused(template, monkeypatch):
    """A template that would hold a thread for hours ends, and the next one is rendered."""
    monkeypatch.setattr(chat, "SECONDS", 1)
    with pytest.raises(InputError, match=r"takes more than 1 seconds; send fewer messages"):
        render_chat(template, CHATS["user"])
    assert render_chat("{{ messages | length }}", CHATS["user"]) == "1"


@pytest.mark.parametrize("template", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_template_that_takes_too_much_memory_is_refused(template):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"template fails: it takes more than 1,024 MB"):
        render_chat(template, CHATS["user"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (64 << 10)


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(InputError, match=r"writes more than 16,777,216 characters"):
        render_chat("{{ 'a' * 17000000 }}", CHATS["user"])


def rendering() -> "subprocess.Popen[bytes]":
    """The process that renders."""
    render_chat("", CHATS["user"])
    found = chat._renderer._process
    assert found is not None
    return found


def test_the_process_that_renders_is_begun_again():
    process = rendering()
    process.kill()
    process.wait()
    assert render_chat("a", CHATS["user"]) == "a"


def test_an_answer_that_nobody_waited_for_is_not_that_of_the_next(monkeypatch):
    """Ctrl+C while a template is rendered."""
    pipe = rendering().stdout

    def interrupted():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipe, "readline", interrupted)
        with pytest.raises(KeyboardInterrupt):
            render_chat("first", CHATS["user"])
    assert render_chat("second", CHATS["user"]) == "second"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_fork_has_a_process_of_its_own():
    mine = rendering().pid
    said = multiprocessing.get_context("fork").SimpleQueue()

    def render() -> None:
        said.put((render_chat("child", CHATS["user"]), rendering().pid))

    child = multiprocessing.get_context("fork").Process(target=render)
    child.start()
    child.join(20)
    text, pid = said.get()
    assert (text, pid != mine) == ("child", True)
    assert rendering().pid == mine


def test_a_long_chat_is_rendered():
    template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert render_chat(template, [{"role": "user", "content": "xy"}] * 40_000) == "xy" * 40_000


def test_a_program_that_ends_leaves_no_process():
    code = (
        "from lightmamba.text import chat\n"
        "print(chat.render_chat('{{ 1 + 1 }}', [{'role': 'user', 'content': 'a'}]))\n"
        "print(chat._renderer._process.pid)\n"
    )
    words = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    two, pid = found.stdout.split()
    assert (two, found.stderr) == ("2", "")
    assert not Path(f"/proc/{pid}").exists()
