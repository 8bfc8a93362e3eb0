"""Formulas as MathML, which browsers show by themselves; MathJax would have to be fetched."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.Element, display: str) -> str:
    shown = convert(node.astext(), display=display)
    if "<mi>\\" in shown:  # a command that it does not know is shown as it stands
        LOGGER.warning("a command in %s is not known", node.astext(), location=node)
    return shown


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f"<div>{mathml(node, 'block')}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
