"""Chat templates, and chats that they render."""

__all__ = ["CHATML", "CHATS", "TEMPLATES"]

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
CHATS = {
    "user": [{"role": "user", "content": " Wie geht's? <b>&ä "}],
    "both": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
}
