"""Static pictures for reprs and reports: SVG in an ``<img>``, with a text that says the same.

A data URI in ``<img>`` is what survives everywhere: JupyterLab shows it in notebooks it does not
trust, nbconvert keeps it, and nothing is fetched. Backgrounds are transparent and writing is a gray
that can be read on white and on black. Equal input gives equal bytes. Colors are those of Okabe
and Ito (2008), and nothing is said by color alone. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .escaping import escape
from .figure_data import Drawing, Picture, drawing_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


BLUE, VERMILLION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#777777"

#: Points that a picture draws at most, about; more could not be told apart.
_POINTS = 500
#: Facts that a picture tells apart, each by its own color and stroke.
_NAMED = 6
_STROKES = tuple(
    (color, dashes)
    for dashes in ("-", (0, (5, 1.5)))
    for color in (BLUE, VERMILLION, GREEN)
)  # fmt: skip

_STYLE = {
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "axes.labelcolor": GRAY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GRAY,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],  # said at every text: ten names are long
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": GRAY,
    "legend.frameon": False,
    "legend.labelcolor": GRAY,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text: small, and in the reader's own font
    "svg.hashsalt": "alphaedit",  # ids are then made from the content alone
    "text.color": GRAY,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
}


def _ends_and_between(size: int, most: int = _POINTS) -> np.ndarray:
    """Indices of ``range(size)``, about ``most`` of them: both ends whole, even steps between."""
    ends = min(most // 20, size)
    between = np.linspace(0, size - 1, min(most - 2 * ends, size)).round().astype(int)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(size - ends, size)]))


def plain(name: str) -> str:
    """A name that people gave, for a label: a "$" in one would be read as mathematics."""
    return name.replace("$", r"\$")


def _svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """What ``draw`` puts on a figure of so many inches, as SVG text."""
    import matplotlib
    from matplotlib.figure import Figure

    parameters: Any = matplotlib.rcParams
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc is for the user's own pictures
        parameters.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        file = io.StringIO()
        metadata: dict[str, Any] = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
        drawing = drawing_of(figure)
    # White space at the ends of lines would be mended by every editor that saves the file, and at
    # their starts it only makes notebooks larger.
    text = "\n".join(line.strip() for line in file.getvalue().splitlines()) + "\n"
    return Picture(text, drawing)


def _image(svg: str, alt: str) -> Picture:
    source = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return Picture(
        f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}" '
        'style="max-width: 100%; height: auto; background: transparent">',
        svg.drawing if isinstance(svg, Picture) else Drawing(),
    )
