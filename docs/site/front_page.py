"""The README as the front page, with the table of contents and an ``index.html``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

CONTENTS = """
```{toctree}
:hidden:
:caption: Notebooks
:glob:

notebooks/README
notebooks/0*
notebooks/family
notebooks/reading_the_numbers
notebooks/workbench
```

```{toctree}
:hidden:
:caption: API

docs/site/api/public
docs/site/api/packages
docs/site/api/widgets
```

```{toctree}
:hidden:
:caption: Project

benchmarks/README
benchmarks/RESULTS
CONTRIBUTING
CHANGELOG
```
"""
INDEX = "index_redirect.html"


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the table of contents to the front page."""
    if name == app.config.root_doc:
        source[0] += CONTENTS


def index(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield ``index.html``, which redirects to the front page."""
    yield "index", {}, INDEX


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", add_contents)
    app.connect("html-collect-pages", index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
