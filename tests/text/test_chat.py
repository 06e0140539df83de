"""Chat templates: the same text as transformers, and no stranger's code."""

from datetime import datetime

import pytest

from lightmamba.common.errors import InputError
from lightmamba.text import render_chat

CHATML = """\
{%- if messages[0]['role'] == 'system' %}
    {{- bos_token + '<|system|>' + messages[0].content + '\n' }}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if loop.index0 > 3 %}{% break %}{% endif %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user and assistant') }}
    {%- endif %}
<|{{ message.role }}|>
    {%- generation %}{{ message.content | trim }}{% endgeneration %}
{% endfor %}
{%- if tools %}{{ tools | tojson }}{% endif %}
{%- if add_generation_prompt %}<|assistant|>
{% endif %}"""
TEMPLATES = {
    "chatml": CHATML,
    "json": "{{ messages | tojson }} {{ messages | tojson(indent=2, sort_keys=true) }}",
    "blocks": "a\n  {% if true %}\n  b\n  {% endif %}\nc {{ eos_token }}",
    "namespace": "{% set n = namespace(x=1) %}{% for m in messages %}{% set n.x = n.x + 1 %}"
                 "{% endfor %}{{ n.x }} {{ dict(a=1) }}",
    "loops": "{% for m in messages %}{{ loop.index }} of {{ loop.length }}{{ loop.last }}"
             "{{ loop.nextitem }}{% else %}none{% endfor %}"
             "{% for k, v in {'a': 1}.items() %}{{ k }}{% endfor %}"
             "{% for x in nothing %}{% else %}none{% endfor %}"
             "{% for x in [1, [2]] if x != 1 recursive %}{{ x if x is number else loop(x) }}"
             "{% endfor %}",
    "strings": "{{ messages[0].content.upper().split('E')[0] }}{{ undefined_name }}",
}  # fmt: skip
MESSAGES = {
    "user": [{"role": "user", "content": " Wie geht's? <b>&ä "}],
    "both": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
}
WORDS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_text_is_that_of_transformers(template, messages, add):
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    (wanted,), _ = utilities.render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=add, **WORDS
    )
    ours = render_chat(template, messages, special_tokens=WORDS, add_generation_prompt=add)
    assert ours == wanted


def test_worked_text():
    text = render_chat(CHATML, MESSAGES["both"], special_tokens=WORDS)
    assert text == "<s><|system|>Be brief.\n<|user|>Hello<|assistant|>\n"


def test_the_date_of_today():
    template = "{{ strftime_now('%Y') }}"
    assert int(render_chat(template, MESSAGES["user"])) in (
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
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template never ends"),
    ],
)
def test_templates_that_cannot_be(template, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        render_chat(template, MESSAGES["user"])
    assert "\n" not in str(caught.value)


NEVER_ENDING = {
    "nested": "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "filtered": "{% set r = range(9999) %}{% for a in r %}{% for b in r if b < 0 %}{% endfor %}"
                "{% endfor %}",
    "characters": "{% for a in messages[0].content %}{% for b in messages[0].content %}"
                  "{% endfor %}{% endfor %}",
    "macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
             "{{ m(40) }}",
    "recursive": "{% for a in [1] recursive %}{{ loop(range(999)) if loop.depth < 9 }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("template", NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_a_template_that_works_too_long_is_refused(template):
    """It would hold a thread of the server for hours."""
    with pytest.raises(InputError, match=r"more than 1,000,000 steps; send fewer messages"):
        render_chat(template, [{"role": "user", "content": "x" * 9999}])


def test_a_long_chat_is_rendered():
    template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert render_chat(template, [{"role": "user", "content": "xy"}] * 40_000) == "xy" * 40_000
