"""Static pictures for reprs and reports: SVG in an ``<img>``, with a text that says the same.

A data URI in ``<img>`` is what survives everywhere: JupyterLab shows it in notebooks it does not
trust, nbconvert keeps it, and nothing is fetched. Backgrounds are transparent and writing is a grey
that can be read on white and on black. Equal input gives equal bytes. Colours are those of Okabe
and Ito (2008), and nothing is said by colour alone. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .escaping import escape
from .figure_data import Drawing, Picture, drawing_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from alphaedit_core.editing.target_search import Trace
    from alphaedit_core.nullspace.spectrum import Spectrum, Threshold

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

#: Points that a picture draws at most, about; more could not be told apart.
_POINTS = 500
#: Facts that a picture tells apart, each by its own colour and stroke.
_NAMED = 6
_STROKES = tuple(
    (colour, dashes)
    for dashes in ("-", (0, (5, 1.5)))
    for colour in (BLUE, VERMILLION, GREEN)
)  # fmt: skip

_STYLE = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],  # said at every text: ten names are long
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": GREY,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text: small, and in the reader's own font
    "svg.hashsalt": "alphaedit",  # ids are then made from the content alone
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def spectrum_html(spectrum: Spectrum, threshold: float | str | Threshold = 0.02) -> str:
    """A small table about a spectrum and its picture."""
    cells = {
        "layer": str(spectrum.layer),
        "directions": f"{spectrum.size:,}",
        f"kept at {threshold}": f"{spectrum.rank(threshold):,}",
        "leakage": f"{spectrum.leakage(threshold):.1%}",
        "effective rank": f"{spectrum.effective_rank:,.0f}",
        "massive": str(spectrum.massive),
        "tokens": f"{spectrum.tokens:,}",
    }
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in cells)
    body = "".join(f"<td>{escape(cell)}</td>" for cell in cells.values())
    table = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
    return table + _image(
        spectrum_svg(spectrum, threshold),
        f"Spectrum of layer {spectrum.layer}: {spectrum.size} eigenvalues on a log scale, largest "
        f"first. The threshold {threshold} keeps the smallest {spectrum.rank(threshold)} of them. "
        f"Massive directions: {spectrum.massive}.",
    )


def spectrum_svg(spectrum: Spectrum, threshold: float | str | Threshold = 0.02) -> str:
    """Eigenvalues against their index, largest first; threshold, kept part and massive ones."""
    rank = spectrum.rank(threshold)
    dropped = spectrum.size - rank
    edge = spectrum.convert(threshold, "absolute").value
    # A log scale has no place for zero; what is under the smallest positive one lies on the floor.
    positive = spectrum.eigenvalues[spectrum.eigenvalues > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    values = np.maximum(spectrum.eigenvalues, floor)
    index = np.arange(1, spectrum.size + 1)
    shown = _ends_and_between(spectrum.size)

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        axes.set_yscale("log")
        axes.axvspan(dropped + 0.5, spectrum.size + 0.5, color=GREEN, alpha=0.15, linewidth=0)
        axes.plot(index[shown], values[shown], color=BLUE)
        axes.axhline(edge, color=VERMILLION, linestyle=(0, (5, 2)), linewidth=1.4)
        # There is room under the line where the curve is still over it, or has long crossed it.
        left = dropped > spectrum.size / 4
        axes.annotate(
            f"threshold {threshold}",
            (0.01 if left else 0.99, edge),
            xycoords=("axes fraction", "data"),
            xytext=(0, -4),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top",
        )
        if rank > spectrum.size / 8:
            middle = (dropped + spectrum.size) / 2
            axes.text(middle, 0.84, "kept", transform=axes.get_xaxis_transform(), ha="center")
        if spectrum.massive:
            first = slice(0, spectrum.massive)
            axes.plot(index[first], values[first], "^", color=VERMILLION, markersize=7)
            axes.annotate(
                f"{spectrum.massive} massive",
                (1, values[0]),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_xlim(0.5 - spectrum.size * 0.01, spectrum.size + 0.5)
        axes.set_xlabel("direction, largest eigenvalue first")
        axes.set_ylabel("eigenvalue")
        axes.set_title(f"layer {spectrum.layer}: {rank:,} of {spectrum.size:,} directions kept")

    return _svg(7.0, 2.8, draw)


def trace_html(traces: Sequence[Trace]) -> str:
    """The picture of a search for target values, facts numbered from 1, and what it leaves out."""
    if not traces:
        return ""
    count = len(traces)
    facts = "1 fact" if count == 1 else f"{count} facts"
    loss = [np.mean([trace.loss[at] for trace in traces]) for at in (0, -1)]
    chance = [np.mean([trace.probability[at] for trace in traces]) for at in (0, -1)]
    alt = (
        f"Search for the target values of {facts}, on average: loss {loss[0]:.2f} at the first "
        f"step and {loss[1]:.2f} at the last; probability of the target {chance[0]:.3f} and "
        f"{chance[1]:.3f}; {sum(trace.converged for trace in traces)} of {count} converged."
    )
    picture = _image(trace_svg(traces), alt)
    hidden = count - len(_lowest_first(traces))
    if not hidden:
        return picture
    return f"{picture}<p>{hidden} facts with the highest probability at the end are not drawn.</p>"


def trace_svg(traces: Sequence[Trace]) -> str:
    """Loss terms (mean over the facts) and the target's probability (each fact) at every step."""
    steps = max(len(trace.nll) for trace in traces)
    shown = _ends_and_between(steps, _POINTS // 8)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        terms = {
            "loss": ([trace.loss for trace in traces], GREY, "-"),
            "target": ([trace.nll for trace in traces], BLUE, (0, (5, 1.5))),
            "KL": ([trace.kl for trace in traces], VERMILLION, (0, (1, 1.2))),
            "decay": ([trace.decay for trace in traces], GREEN, (0, (5, 1.5, 1, 1.5))),
        }
        left.set_yscale("log")
        for name, (rows, colour, dashes) in terms.items():
            # A fact that has converged keeps its last value, so that all facts count in the mean.
            mean = np.mean([_held(row, steps) for row in rows], axis=0)
            at = shown[mean[shown] > 0]
            dot = "." if len(at) == 1 else None
            left.plot(at + 1, mean[at], color=colour, linestyle=dashes, marker=dot, label=name)
        one = len(traces) == 1
        left.set_title("loss and its terms" + ("" if one else f", mean of {len(traces)} facts"))
        low, high = left.get_ylim()
        left.set_ylim(low, high * (high / low) ** 0.25)  # room for the legend
        left.legend(loc="upper right", ncols=2)
        drawn = _lowest_first(traces)
        for number in reversed(drawn):
            chance = np.asarray(traces[number].probability)
            at = shown[shown < len(chance)]
            place = drawn.index(number)
            named = place < _NAMED
            colour, dashes = _STROKES[place] if named else (GREY, "-")
            right.plot(
                at + 1,
                chance[at],
                color=colour,
                linestyle=dashes,
                linewidth=1.8 if named else 0.8,
                marker="o" if traces[number].converged else "x",
                markevery=[-1],
                markersize=5,
                label=f"fact {number + 1}" if named else None,
            )
        right.set_ylim(-0.03, 1.03)
        right.set_title("probability of the target (● converged, × not)")
        if len(traces) > 1:
            handles, labels = right.get_legend_handles_labels()
            order = sorted(range(len(labels)), key=lambda i: int(labels[i].split()[1]))
            right.legend([handles[i] for i in order], [labels[i] for i in order], loc="lower right")
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.set_xlim(0.5, steps + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)

    return _svg(8.0, 2.6, draw)


def _lowest_first(traces: Sequence[Trace]) -> list[int]:
    """Indices of the facts that are drawn, the least probable at the end of the search first."""
    steps = max(len(trace.nll) for trace in traces)
    room = max(_NAMED, _POINTS // steps)
    order = sorted(range(len(traces)), key=lambda i: (traces[i].probability[-1], i))
    return order[:room]


def _held(values: Sequence[float], length: int) -> np.ndarray:
    return np.array([*values, *[values[-1]] * (length - len(values))])


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
