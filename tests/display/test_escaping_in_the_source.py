"""All code that builds HTML escapes text, with the functions of display.escaping."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_module_uses_the_same_functions() -> None:
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        if path.name != "escaping.py":
            source = path.read_text("utf-8")
            assert not re.search(r"from html import|import html\b|markupsafe|saxutils", source), (
                path
            )


#: Expressions allowed between tags without escaping: calls that return HTML, names ending in _html,
_HTML_CALLS = re.compile(
    r"(escape|in_figure|text|table|scroll|html_table|\w+_html|words_html)\(.*\)|\w+_html"
    r"|.*\.(_repr_html_|figure|html)\(\)|''\.join\(\w+\)|_unbroken\(escape\(cell\)\)"
)
#: variables with these names, which hold HTML,
_HTML_NAMES = {
    "head", "body", "rows", "cell", "cells", "texts", "counts", "table", "meanings",
    "shown", "title", "items", "words", "small", "massive", "bar", "html", "definitions", "unit",
    "caption", "points", "line_y", "share", "filled",
}  # fmt: skip
#: and numbers and constant words.
_TRUSTED = re.compile(
    r"len\(.*\)( - \w+)?|[A-Z_]+|_ASKS\[kind\]|_share\(.*\)|self\.side\.lower\(\)|s\.layer|layer|"
    r"number|hidden|undone|left_out|left|omitted_count|css_class|tag|sign|sr_text|name|testid|kind|state|source|"
    r"power|note|as_published|'.*' if \w.* else '.*'"
)
_TAG = re.compile(r"</?[a-z!]")


def test_text_between_tags_is_escaped() -> None:
    """Untrusted text is escaped where the HTML is built."""
    count = 0
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            plain = "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
            if not _TAG.search(plain) or "(?" in plain:  # a regular expression
                continue
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    count += 1
                    code = ast.unparse(part.value)
                    spec = (
                        part.format_spec.values
                        if isinstance(part.format_spec, ast.JoinedStr)
                        else []
                    )
                    number = bool(spec) and ast.unparse(spec[-1]).rstrip("'")[-1] in "fgd%eX,"
                    known = (
                        _HTML_CALLS.fullmatch(code)
                        or code in _HTML_NAMES
                        or _TRUSTED.fullmatch(code)
                    )
                    assert number or known, f"{path}:{node.lineno}: {code} is not escaped"
    assert count > 100


def test_browser_scripts_build_no_html_from_text() -> None:
    for path in ROOT.glob("widgets/static/*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc|DOMParser",
            path.read_text("utf-8"),
        )
        assert not found, path
