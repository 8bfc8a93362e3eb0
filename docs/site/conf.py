"""The site that ``make docs`` builds: README, notebooks as stored, and the API from docstrings.

The source folder is the root of the project, so that links between its files lead on the site where
they lead in the project. Nothing is fetched, and no notebook is run.
"""

import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # this checkout; extensions beside this file

project = "AlphaEdit workbench"
author = "The AlphaEdit workbench authors"
copyright = author
version = release = metadata.version("alphaedit-workbench")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
extensions += ["api_pages", "front_page", "google_docstrings", "mathml"]

root_doc = "README"
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/*.md", "notebooks/*.md",
    "notebooks/*.ipynb", "docs/site/api/*.rst",
]  # fmt: skip
exclude_patterns = [".*", "build", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"
# Interactive figures are stored with a static picture, which is shown.
suppress_warnings = ["mystnb.unknown_mime_type"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links such as RESULTS.md#editors

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # each name once, where it is written
}
autodoc_typehints_format = "short"
autosummary_generate = False
python_maximum_signature_line_length = 88

html_theme = "furo"
templates_path = ["templates"]
html_title = project
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
