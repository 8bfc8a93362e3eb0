"""Figure of the editors' formulas: every arrow names the term that it adds."""

from __future__ import annotations

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

#: Column, row from the bottom, label and color of each box.
_BOXES: dict[str, tuple[float, float, str, str]] = {
    "ridge": (0.0, 1.0, "ridge regression\n$G = I$", fig.GRAY),
    "AlphaEdit": (1.0, 2.0, "AlphaEdit\n$G = P$,  $M = [K_p, K]$", fig.VERMILLION),
    "MEMIT": (1.0, 1.0, "MEMIT\n$G = C^{-1}$,  $\\mu = \\lambda$", fig.BLUE),
    "PRUNE": (1.0, 0.0, "PRUNE\nlog of large $\\sigma(\\Sigma\\,\\Delta W)$", fig.GREEN),
    "EMMET": (2.0, 2.0, "EMMET\n$\\mu$ small, one layer", fig.BLUE),
    "PMET": (2.0, 1.0, "PMET\nattention searched too", fig.BLUE),
    "RECT": (2.0, 0.0, "RECT\nlargest $|\\Delta W / W|$", fig.GREEN),
    "ROME": (3.0, 2.0, "ROME, R-ROME\n$\\mu = 0$, MLP searched", fig.BLUE),
    "FT": (0.0, 0.0, "FT, FT-L\nAdam, no closed form", fig.GRAY),
}
_ARROWS = (
    ("ridge", "AlphaEdit", "+ $P$, $K_p$"),
    ("ridge", "MEMIT", "+ $C$"),
    ("MEMIT", "EMMET", "equality"),
    ("EMMET", "ROME", "n = 1"),
    ("MEMIT", "PMET", "search"),
    ("MEMIT", "RECT", "mask"),
    ("MEMIT", "PRUNE", "sum"),
)
#: Half the width and height of a box.
_HALF = (0.36, 0.24)
_ALT = (
    "How the formulas nest. The root is ridge regression of the residuals on the keys. With the "
    "preconditioner C to the minus one it is MEMIT; with the projector P and the previous keys it "
    "is AlphaEdit. MEMIT with a small mu in one layer is EMMET. EMMET with one fact and mu = 0 is "
    "ROME, or R-ROME if the same key is used throughout the formula. PMET is MEMIT with another "
    "search and another distribution over layers. RECT keeps some entries of MEMIT's update, and "
    "PRUNE shrinks the singular values of the sum of updates. FT and FT-L train the weight."
)


def family_html() -> str:
    """Return the figure as HTML with an equivalent text."""
    return figure_html(family_svg(), _ALT)


def family_svg() -> str:
    """Return an SVG with a box per editor and an arrow per added term."""
    formula = r"$\Delta W = [0, R]\,(\mu I + M^T G M)^{-1} M^T G$"
    texts = [fig.Text(1.5, 2.75, formula, size=14, vertical_align="bottom")]
    texts += [fig.Text(x, y, words, size=10, box=color) for x, y, words, color in _BOXES.values()]
    arrows = []
    for first, second, words in _ARROWS:
        start, end = _BOXES[first][:2], _BOXES[second][:2]
        arrows.append(fig.Arrow(_edge(start, end), _edge(end, start)))
        across, up = ((a + b) / 2 for a, b in zip(start, end, strict=True))
        upright = start[0] == end[0]
        texts.append(
            fig.Text(
                across + 0.04 * upright, up + 0.05 * (not upright), words,
                align="left" if start[1] > end[1] else "right" if start[1] < end[1] else "center",
                vertical_align="center" if upright else "bottom",
            )
        )  # fmt: skip
    x, y = fig.Axis(limits=(-0.5, 3.5)), fig.Axis(limits=(-0.4, 3.0))
    panel = fig.Panel(x, y, texts=tuple(texts), arrows=tuple(arrows), framed=False)
    return render_svg(fig.Figure(10.0, 4.2, (panel,)))


def _edge(box: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the point where the line between the centers of two boxes leaves the first one."""
    dx, dy = other[0] - box[0], other[1] - box[1]
    share = min(
        _HALF[0] / abs(dx) if dx else float("inf"), _HALF[1] / abs(dy) if dy else float("inf")
    )
    return box[0] + share * dx, box[1] + share * dy
