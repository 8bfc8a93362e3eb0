"""Articles of a MediaWiki dump, and conversion of wiki markup to plain prose.

Everything that is not running text is removed: tables, references, images, categories, navigation
and maintenance templates, and the lists of sources at the end. ``mwparserfromhell`` parses the
markup.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

if TYPE_CHECKING:
    from mwparserfromhell.nodes import Node, Template
    from mwparserfromhell.wikicode import Wikicode

CLEANING_VERSION = 1
"""Version of the conversion; increased whenever the same markup gives different prose."""

_SKIPPED_TAGS = {"ref", "references", "table", "gallery", "timeline", "imagemap", "source", "code"}
_LINE_BREAK_TAGS = {"br", "hr", "p", "blockquote", "poem", "div"}
_SKIPPED_NAMESPACES = {"file", "image", "media", "category", "template", "portal", "help"}
_SKIPPED_SECTIONS = {
    "bibliography",
    "citations",
    "cited sources",
    "explanatory notes",
    "external links",
    "footnotes",
    "further reading",
    "gallery",
    "notes",
    "notes and references",
    "primary sources",
    "references",
    "see also",
    "sources",
    "works cited",
}

# Templates that are part of a sentence; all others are boxes, notes or navigation.
_ARGUMENT_TEMPLATES = {
    "angbr": 0,
    "blockquote": 0,
    "lang": 1,
    "nihongo": 0,
    "nobr": 0,
    "nowrap": 0,
    "quote": 0,
    "sc": 0,
    "smaller": 0,
    "vanchor": 0,
}
_TEXT_TEMPLATES = {
    "'s": "'s",
    "carbon": "C",
    "circa": "c. ",
    "hydrogen": "H",
    "mdash": "—",
    "mdashb": "—",
    "nbsp": " ",
    "ndash": "–",
    "spaced ndash": " – ",
}
_UNITS = {
    "c": "°C",
    "cuft": "cubic feet",
    "f": "°F",
    "ft": "feet",
    "in": "inches",
    "km2": "square kilometres",
    "lb": "pounds",
    "m2": "square metres",
    "mi": "miles",
    "sqft": "square feet",
    "sqmi": "square miles",
    "yd": "yards",
}
_RANGE_WORDS = {"-": "–", "–": "–", "to": "to", "and": "and", "or": "or", "by": "by", "x": "×"}


class Article(NamedTuple):
    """One page of a dump.

    Attributes:
        title: title of the page.
        markup: raw wiki markup.
    """

    title: str
    markup: str


def articles(path: str | PathLike[str]) -> Iterator[Article]:
    """Yield the articles of a bz2-compressed MediaWiki XML dump, in order.

    Redirects and pages outside the main namespace are skipped. One page is in memory at a time.

    Args:
        path: the dump.

    Raises:
        OSError: if the file cannot be read or is not bz2.
        xml.etree.ElementTree.ParseError: if the content is not XML.
    """
    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            if not element.tag.endswith("}page"):
                continue
            space = element.tag.removesuffix("page")
            in_main_namespace = element.findtext(f"{space}ns") == "0"
            if in_main_namespace and element.find(f"{space}redirect") is None:
                yield Article(
                    element.findtext(f"{space}title", ""),
                    element.findtext(f"{space}revision/{space}text", ""),
                )
            element.clear()


def plain_prose(markup: str) -> str:
    """Return the running text of a page: paragraphs and headings, separated by blank lines."""
    import mwparserfromhell
    from mwparserfromhell.nodes import Heading

    parts: list[str] = []
    headings: list[tuple[int, str]] = []  # pending: no text under them yet
    skipped_level: int | None = None
    # Apostrophes for bold and italic are removed at the end: parsing unpaired ones would break the
    # detection of tables and links.
    for node in mwparserfromhell.parse(markup, skip_style_tags=True).nodes:
        if isinstance(node, Heading):
            if skipped_level is not None and node.level > skipped_level:
                continue
            title = _prose(node.title).strip()
            skipped_level = node.level if title.lower() in _SKIPPED_SECTIONS else None
            headings = [h for h in headings if h[0] < node.level]
            if skipped_level is None:
                headings.append((node.level, title))
        elif skipped_level is None and (text := _node_prose(node)):
            if headings and text.strip():
                parts += [f"\n\n{title}\n\n" for _, title in headings]
                headings = []
            parts.append(text)
    return _tidy("".join(parts))


def _prose(code: Wikicode | None) -> str:
    return "" if code is None else "".join(_node_prose(node) for node in code.nodes)


def _node_prose(node: Node) -> str:
    from mwparserfromhell import nodes

    if isinstance(node, nodes.Text):
        return str(node.value)
    if isinstance(node, nodes.HTMLEntity):
        return str(node.normalize())
    if isinstance(node, nodes.ExternalLink):
        return _prose(node.title)
    if isinstance(node, nodes.Wikilink):
        namespace, colon, _ = str(node.title).strip().lstrip(":").partition(":")
        if colon and namespace.strip().lower() in _SKIPPED_NAMESPACES:
            return ""
        return _prose(node.title if node.text is None else node.text)
    if isinstance(node, nodes.Tag):
        tag = str(node.tag).strip().lower()
        if tag in _SKIPPED_TAGS:
            return ""
        return ("\n" if tag in _LINE_BREAK_TAGS else "") + _prose(node.contents)
    if isinstance(node, nodes.Template):
        return _template_prose(node)
    return ""  # comments and template arguments


def _template_prose(template: Template) -> str:
    name = " ".join(str(template.name).lower().replace("_", " ").split())
    if name in _TEXT_TEMPLATES:
        return _TEXT_TEMPLATES[name] + " ".join(_positional(template)[:1])
    if name in _RULE_TEMPLATES:
        return _RULE_TEMPLATES[name](_positional(template))
    index = 0 if name.startswith("lang-") else _ARGUMENT_TEMPLATES.get(name)
    arguments = [] if index is None else _positional(template)
    return arguments[index] if index is not None and index < len(arguments) else ""


def _positional(template: Template) -> list[str]:
    # An argument that contains "=" is written with its number (1=…) or, in quotations, as text=….
    return [
        _prose(argument.value).strip()
        for argument in template.params
        if not argument.showkey or (name := str(argument.name).strip()).isdigit() or name == "text"
    ]


def _conversion(arguments: list[str]) -> str:
    """Return the text of ``{{convert|1300|mi|km}}``, "1300 miles"; a range stays a range."""
    words: list[str] = []
    for argument in arguments:
        if argument in _RANGE_WORDS:
            words.append(_RANGE_WORDS[argument])
        elif argument[:1].isdigit() or argument[:1] in {"-", "−", "."}:
            words.append(argument)
        else:
            words.append(_UNITS.get(argument.lower(), argument))
            break
    return " ".join(words).replace(" – ", "–")


def _fraction(arguments: list[str]) -> str:
    """Return the text of ``{{frac|3}}``, "1/3"; of ``{{frac|1|2|3}}``, "1 2/3"."""
    whole, parts = arguments[:-2], arguments[-2:]
    return " ".join([*whole, "/".join(["1", *parts][-2:])])


_RULE_TEMPLATES: dict[str, Callable[[list[str]], str]] = {
    "as of": lambda arguments: "as of " + " ".join(arguments),
    "chem": "".join,
    "convert": _conversion,
    "cvt": _conversion,
    "frac": _fraction,
    "transl": lambda arguments: arguments[-1] if arguments else "",
    "val": lambda arguments: " ".join(arguments[:1]),
}

# Bold and italic marks, and remnants of removed notes and templates.
_TIDYING = [
    (re.compile(r"'{2,5}"), ""),
    (re.compile(r"</?[a-z]+>"), ""),
    (re.compile(r"[ \t\u00a0]+"), " "),
    (re.compile(r"\((?:[ ,;:]|or\b)+"), "("),
    (re.compile(r"[ ,;]+\)"), ")"),
    (re.compile(r" ?\(\)"), ""),
    (re.compile(r" +([,.;:!?])(?=\s|$)"), r"\1"),
    (re.compile(r"__[A-Z]+__"), ""),
    (re.compile(r" *\n *"), "\n"),
    (re.compile(r"\n{3,}"), "\n\n"),
]


def _tidy(text: str) -> str:
    for pattern, replacement in _TIDYING:
        text = pattern.sub(replacement, text)
    return text.strip()
