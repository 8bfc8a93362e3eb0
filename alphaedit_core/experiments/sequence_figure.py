"""Settings side by side after few and after many edits: one row each, one panel for a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alphaedit_core.display.svg import BLUE, GRAY, VERMILLION, _image, _svg, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Panels, and which way is better in each.
_PANELS = {
    "efficacy": "→",
    "generalization": "→",
    "specificity": "→",
    "exact": "→",
    "perplexity": "←",
}


def sequence_html(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """The picture, with a text that names every setting's numbers after the most edits.

    Args:
        found: by setting and number of edits the measures ``efficacy``, ``generalization``,
            ``specificity``, ``exact`` and ``perplexity`` (see
            :class:`~.counterfact_scores.Measures`); the same numbers of edits for all.
    """
    last = max(max(counts) for counts in found.values())
    said = [
        f"{name}: " + ", ".join(f"{panel} {counts[last][panel]:.1f}" for panel in _PANELS)
        for name, counts in found.items()
    ]
    return _image(sequence_svg(found), f"After {last} edits. " + "; ".join(said) + ".")


def sequence_svg(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Hollow: after the fewest edits; filled: after the most; perplexity on a log scale."""
    names = list(found)
    counts = sorted({count for per in found.values() for count in per})

    def draw(figure: Figure) -> None:
        panels: Sequence = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (measure, better) in zip(panels, _PANELS.items(), strict=True):
            for place, name in enumerate(names):
                values = [found[name][count][measure] for count in counts]
                axes.plot(values, [place] * len(values), color=GRAY, linewidth=1)
                axes.plot(
                    values[0], place, "o", color=BLUE, fillstyle="none",
                    label=f"after {counts[0]} edits" if not place else None,
                )  # fmt: skip
                axes.plot(
                    values[-1], place, "o", color=VERMILLION,
                    label=f"after {counts[-1]} edits" if not place else None,
                )  # fmt: skip
            axes.set_title(f"{measure} {better}")
            if measure == "perplexity":
                axes.set_xscale("log")
                high = max(axes.get_xlim()[1], 50)
                ticks = (25, 50, 100, 200, 400) if high < 800 else (25, 250, 2500, 25_000)
                axes.set_xticks([tick for tick in ticks if tick <= high], minor=False)
                axes.xaxis.set_major_formatter("{x:g}")
                axes.minorticks_off()
        panels[0].set_yticks(range(len(names)), [plain(name) for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=2)

    return _svg(11.0, 1.2 + 0.26 * len(names), draw)
