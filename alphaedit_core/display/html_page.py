"""Self-contained HTML pages.

A page embeds everything, figures included, and its Content-Security-Policy forbids the browser to
load anything else. It is readable on paper, in light mode and in dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from .escaping import escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1f1f1f; --quiet: #5b5b5b; --paper: #ffffff; --line: #cccccc;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --quiet: #ababab; --paper: #161616; --line: #4a4a4a; }
}
body {
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; }
.quiet, summary { color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; }
th, td {
  border-bottom: 1px solid var(--line); padding: 0.25rem 0.9rem 0.25rem 0;
  vertical-align: top; text-align: left; overflow-wrap: break-word;
}
th { font-weight: 600; color: var(--quiet); }
img { display: block; margin: 0.6rem 0; max-width: 100%; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Return a complete page.

    Args:
        title: plain text, which is escaped.
        parts: HTML, in order.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def scroll(html: str) -> str:
    """Return HTML that scrolls horizontally if the page is too narrow."""
    return f'<div class="scroll">{html}</div>'
