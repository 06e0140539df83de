"""A Griffe extension for the docs site: the roles of docstrings, such as :func:`x`, become `x`."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|mod|class|data|meth|attr):`~?([^`]+)`")


class Roles(griffe.Extension):
    """Rewrite each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = text.replace("``", "`")
