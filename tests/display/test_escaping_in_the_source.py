"""The source escapes every text where it makes HTML, and by the one helper."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_module_takes_the_one_helper() -> None:
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        if path.name != "escaping.py":
            source = path.read_text("utf-8")
            assert not re.search(r"from html import|import html\b|markupsafe|saxutils", source), (
                path
            )


#: What may stand between tags without being escaped there: HTML that is finished by now …
_MADE = re.compile(
    r"(escape|in_figure|text|table|scroll|html_table|\w+_html|words_html|self\._drifts)\(.*\)"
    r"|.*\.(_repr_html_|figure|html)\(\)|''\.join\(\w+\)|_unbroken\(escape\(cell\)\)"
)
#: … under these names, which nothing else has; …
_HELD = {
    "head", "body", "rows", "cell", "cells", "told", "texts", "counts", "table", "meanings",
    "picture", "shown", "title", "items", "words", "line", "stretch", "small", "drawn", "massive",
    "bar", "rest", "html", "more", "unit", "caption", "points", "at", "share", "filled",
}  # fmt: skip
#: … and numbers and words of our own.
_OWN = re.compile(
    r"len\(.*\)( - \w+)?|[A-Z_]+|_ASKS\[kind\]|_share\(.*\)|self\.side\.lower\(\)|s\.layer|layer|"
    r"number|hidden|undone|left_out|left|look|tag|sign|spoken|where|name|testid|kind|state|source|"
    r"power|note|said|as_published|'.*' if \w.* else '.*'"
)
_TAG = re.compile(r"</?[a-z!]")


def test_no_text_is_put_between_tags_as_it_is() -> None:
    """A text of somebody's that goes into HTML is escaped in the place where that is made."""
    seen = 0
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            plain = "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
            if not _TAG.search(plain) or "(?" in plain:  # a regular expression
                continue
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    seen += 1
                    words = ast.unparse(part.value)
                    spec = (
                        part.format_spec.values
                        if isinstance(part.format_spec, ast.JoinedStr)
                        else []
                    )
                    number = bool(spec) and ast.unparse(spec[-1]).rstrip("'")[-1] in "fgd%eX,"
                    known = _MADE.fullmatch(words) or words in _HELD or _OWN.fullmatch(words)
                    assert number or known, f"{path}:{node.lineno}: {words} is not escaped"
    assert seen > 100


def test_no_script_in_the_browser_makes_html_of_text() -> None:
    for path in ROOT.glob("widgets/static/*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc|DOMParser",
            path.read_text("utf-8"),
        )
        assert not found, path
