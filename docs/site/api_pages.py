"""The directives of the API's pages: all modules of a package, and all public names.

A module that is added appears on its package's page without a change here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typing_extensions import override


class Package(SphinxDirective):
    """``.. package:: NAME``: the package's docstring, then a section for each module below it."""

    required_arguments = 1

    @override
    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        return self.parse_text_to_nodes(
            "\n".join([f".. automodule:: {name}", "", *self.sections(name)]),
            allow_section_headings=True,
        )

    def sections(self, package: str) -> Iterator[str]:
        """Yield the lines of one section per module."""
        path = import_module(package).__path__
        for name in sorted(found.name for found in walk_packages(path, f"{package}.")):
            title = name.removeprefix(f"{package}.")
            yield from (title, "-" * len(title), "", f".. automodule:: {name}", "")


class PublicNames(SphinxDirective):
    """``.. public-names:: PACKAGE``: a row for each name of ``__all__``, linked to its entry."""

    required_arguments = 1

    @override
    def run(self) -> list[nodes.Node]:
        package = import_module(self.arguments[0])
        # Not getattr, which gives the module where one is called as the name is.
        found = [package.__getattr__(name) for name in package.__all__ if name[0] != "_"]
        rows = [f"   ~{value.__module__}.{value.__qualname__}" for value in found]
        return self.parse_text_to_nodes("\n".join([".. autosummary::", "", *rows]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("package", Package)
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
