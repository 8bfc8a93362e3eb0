"""Google style docstrings, read by napoleon's parser.

Napoleon's extension is not used: it takes the words before a colon in an attribute's docstring for
a type.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils import get_source_line
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


#: Attributes as a list of names: entries would duplicate autodoc's own.
CONFIG = Config(napoleon_custom_sections=[("Attributes", "params_style")])


def as_restructured_text(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Rewrite the docstring's lines in place."""
    if what in ("attribute", "data", "property"):
        what = "method"
    lines[:] = GoogleDocstring(lines, CONFIG, None, what, name, value, options).lines()
    if what == "class" and (base := own_base(value)):
        lines += ["", f"Inherits from :class:`~{base.__module__}.{base.__name__}`.", ""]


def own_base(value: Any) -> type | None:
    """Return the nearest base class that has an entry on the site."""
    for base in getattr(value, "__mro__", ())[1:]:
        if base.__module__.startswith("alphaedit_") and not base.__name__.startswith("_"):
            return base
    return None


def warn_of_dead_role(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Node
) -> None:
    """Warn of a role in a docstring without a target.

    Types in signatures and exceptions may come from other packages, and attributes have no entry.
    """
    source = get_source_line(node)[0] or ""
    is_role = isinstance(text, nodes.literal) and "docstring of alphaedit_" in source
    if is_role and node["refdomain"] == "py" and node["reftype"] not in ("attr", "exc"):
        LOGGER.warning("nothing is called %s", node["reftarget"], location=node)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("missing-reference", warn_of_dead_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
