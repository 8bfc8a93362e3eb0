"""SVG figures: content, alternative text, and equal bytes for equal input."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.editors.registry import editors
from alphaedit_core.editing.layer_write import LayerWrite
from alphaedit_core.editing.search_figure import trace_html, trace_svg
from alphaedit_core.editing.search_trace import Trace
from alphaedit_core.experiments import family_figure
from alphaedit_core.experiments.family_figure import family_html
from alphaedit_core.experiments.sequence_figure import sequence_html, sequence_svg
from alphaedit_core.inference.scores import Score
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.session.results import EditResult, FactResult, ModelResponse

SVG = "{http://www.w3.org/2000/svg}"


def a_spectrum(size: int = 64, massive: bool = True) -> Spectrum:
    values = np.geomspace(1.0, 1e-3, size)
    if massive:
        values[0] = 500.0
    return Spectrum(7, values, tokens=100_000)


def a_trace(steps: int = 20, converged: bool = True, end: float = 0.01) -> Trace:
    nll = [8.0 * (end / 8.0) ** (step / max(steps - 1, 1)) for step in range(steps)]
    return Trace(
        nll=nll,
        kl=[0.001 * step for step in range(steps)],
        decay=[0.002 * step for step in range(steps)],
        probability=[float(np.exp(-value)) for value in nll],
        delta=[0.1 * step for step in range(steps)],
        converged=converged,
    )


def a_result(facts: list[Fact], batches: int = 1) -> EditResult:
    before = ModelResponse(
        completion="Paris <b>", new=Score(5.0, 0.0067, False, 9), true=Score(0.5, 0.6068, True, 1)
    )
    after = ModelResponse(
        completion="Rome & more", new=Score(0.1, 0.9048, True, 1), true=Score(6.0, 0.0027, False, 4)
    )
    outcomes = [
        FactResult(
            fact=fact,
            tokens=(" Rome",),
            before=before,
            after=after,
            trace=a_trace(),
            residual_left=0.1,
            note="read <i>so</i>",
        )
        for fact in facts
    ]
    writes = [
        [
            LayerWrite(
                5, 1.0, 2.0, 1.5, 50.0, [3.0] * len(facts), [0.25] * len(facts), [8.0] * len(facts)
            )
        ]
    ] * batches
    return EditResult(
        outcomes=outcomes,
        writes=writes,
        batches=[0] * len(facts),
        plans=[1024],
        seconds={"target values": 3.0},
    )


class Page(HTMLParser):
    """Images, table cells, tags and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1] in ("td", "th") and self.cells:
            self.cells[-1] += data

    def figure(self) -> ElementTree.Element:
        [image] = self.images
        head, _, body = (image["src"] or "").partition(",")
        assert head == "data:image/svg+xml;base64"
        return ElementTree.fromstring(base64.b64decode(body))


def words(svg: str | ElementTree.Element) -> str:
    tree = ElementTree.fromstring(svg) if isinstance(svg, str) else svg
    return " | ".join("".join(text.itertext()) for text in tree.iter(f"{SVG}text"))


def test_matplotlib_is_imported_on_first_use() -> None:
    code = (
        "import sys, alphaedit_core.session.results, alphaedit_core.session.session; "
        "import alphaedit_core.display.svg; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_table_and_text_of_a_spectrum() -> None:
    spectrum = a_spectrum()
    page = Page(spectrum.html())
    rank = int((spectrum.eigenvalues < 0.02).sum())
    leakage = spectrum.eigenvalues[spectrum.eigenvalues < 0.02].sum() / (
        spectrum.eigenvalues[1:].sum()
    )
    head, row = page.cells[: len(page.cells) // 2], page.cells[len(page.cells) // 2 :]
    assert dict(zip(head, row, strict=True)) == {
        "layer": "7",
        "directions": "64",
        "kept at 0.02": str(rank),
        "leakage": f"{leakage:.1%}",
        "effective rank": f"{spectrum.effective_rank:.0f}",
        "massive": "1",
        "tokens": "100,000",
    }
    alt = page.images[0]["alt"] or ""
    assert "layer 7" in alt and f"The threshold 0.02 keeps the smallest {rank} of them" in alt
    labels = words(page.figure())
    for text in (f"layer 7: {rank} of 64 directions kept", "threshold 0.02", "kept", "1 massive"):
        assert text in labels
    assert spectrum._repr_html_() == spectrum.html()


def test_the_shaded_part_starts_where_the_curve_crosses_the_threshold() -> None:
    """The shaded part ends at the last direction; its share of the width is the kept share."""
    spectrum = a_spectrum(size=400, massive=False)
    tree = ElementTree.fromstring(spectrum.svg(0.02))
    shade, curve, line = (
        np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), dtype=float)
        for path in _data_paths(tree)
    )
    kept = np.ptp(shade[:, 0]) / (curve[:, 0].max() - curve[:, 0].min()) * (400 - 1)
    assert kept == pytest.approx(spectrum.rank(0.02), abs=0.1)
    crossing = np.interp(-line[0, 1], -curve[::-1, 1], curve[::-1, 0])
    assert crossing == pytest.approx(shade[:, 0].min(), abs=1.5)


def _data_paths(tree: ElementTree.Element) -> tuple[str, str, str]:
    """Return the paths of the shade, the curve and the threshold by their colors."""
    paths = {}
    for path in tree.iter(f"{SVG}path"):
        style = path.get("style") or ""
        for name, mark in (("shade", "fill: #009e73"), ("curve", "stroke: #0072b2")):
            if mark in style:
                paths[name] = path.get("d") or ""
        if "stroke: #d55e00" in style:
            paths["line"] = path.get("d") or ""
    return paths["shade"], paths["curve"], paths["line"]


@pytest.mark.parametrize("threshold", [0.02, "energy:0.1", "rank:3", "rank:0", 1e9])
def test_every_rule_and_extreme_thresholds(threshold: float | str) -> None:
    spectrum = a_spectrum()
    page = Page(spectrum.html(threshold))
    assert f"{spectrum.rank(threshold)} of 64 directions kept" in words(page.figure())
    assert f"threshold {threshold} keeps" in (page.images[0]["alt"] or "")


@pytest.mark.parametrize("values", [[2.0], [0.0, 0.0], [1.0, 1e-30, 0.0, -1e-20]])
def test_degenerate_spectra(values: list[float]) -> None:
    spectrum = Spectrum(0, np.array(values), tokens=512)
    assert f"of {len(values)} directions kept" in words(spectrum.svg())


def test_equal_input_gives_equal_bytes_with_any_user_settings() -> None:
    first = a_spectrum().svg(), trace_svg([a_trace(), a_trace(9)])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        again = a_spectrum().svg(), trace_svg([a_trace(), a_trace(9)])
        assert matplotlib.rcParams["font.size"] == 30, "the user's settings are restored"
    assert first == again
    assert first[0] != a_spectrum(size=65).svg()


def test_figures_are_small_and_have_no_background() -> None:
    wide = a_spectrum(size=14_336).svg()
    many = trace_svg([a_trace(25, end=0.01 + n / 1000) for n in range(500)])
    assert len(wide) < 40_000 and len(many) < 80_000
    for svg in (wide, many):
        assert "#ffffff" not in svg.lower()
        colors = set(re.findall(r"#[0-9a-f]{6}", svg.lower()))
        assert colors <= {"#0072b2", "#d55e00", "#009e73", "#777777"}


def test_text_and_figure_of_a_search() -> None:
    traces = [a_trace(14), a_trace(25, converged=False, end=1.0)]
    page = Page(trace_html(traces))
    alt = page.images[0]["alt"] or ""
    assert "2 facts" in alt and "1 of 2 converged" in alt
    assert f"{np.mean([np.exp(-0.01), np.exp(-1.0)]):.3f}" in alt
    labels = words(page.figure())
    for text in ("mean of 2 facts", "target", "KL", "decay", "fact 1", "fact 2", "step"):
        assert text in labels
    assert trace_html([]) == ""


def test_the_worst_of_many_facts_are_named() -> None:
    traces = [a_trace(25, end=0.5 if n in (3, 30) else 0.01) for n in range(60)]
    page = Page(trace_html(traces))
    labels = words(page.figure())
    assert "fact 4 " in labels and "fact 31" in labels and labels.count("fact ") == 6
    assert "40 facts with the highest probability at the end are not shown" in page.text


def test_a_result_shows_completions_search_and_writes() -> None:
    fact = Fact("Eiffel <Tower>", "{} stands & is in", "Rome", target_true="Paris")
    result = a_result([fact], batches=2)
    html = result._repr_html_()
    page = Page(html)
    assert page.cells[6:12] == [
        "1",
        "Eiffel <Tower> stands & is in",
        "Paris <b>",
        "Rome & more",
        "0.007\u00a0→\u00a00.905",
        "0.607\u00a0→\u00a00.003",
    ]
    assert "read <i>so</i>" in page.text
    assert not {"b", "i", "tower"} & set(page.tags), "text of facts and models is escaped"
    assert page.tags.count("details") == 1
    assert page.cells[-6:] == ["2", "5", "2.00% of |W|", "4.00% of |W|", "25.0% of |k|²", "8.00"]
    assert "loss and its terms" in words(page.figure())


def test_a_long_result_is_truncated() -> None:
    facts = [Fact(f"Tower {n}", "{} is in", "Rome") for n in range(130)]
    page = Page(a_result(facts)._repr_html_())
    assert "… and 30 more" in page.text
    assert "Tower 99 is in" in page.cells and "Tower 100 is in" not in page.cells


def test_the_family_has_every_editor_and_arrows_between_boxes() -> None:
    html = family_html()
    written = "".join(words for _, _, words, _ in family_figure._BOXES.values())
    words = re.sub(r"[^a-z]", "", written.lower())
    alt = html.partition('alt="')[2].partition('"')[0]
    rect = ("rect-rome", "rect-by-layer")  # over another editor, or in another order: one box
    for name in {name.partition("-")[0] if name in rect else name for name in editors()}:
        assert name.replace("-", "") in words, name
        assert name.replace("-", "").upper() in re.sub(r"[^A-Z]", "", alt.upper()), name
    for first, second, _ in family_figure._ARROWS:
        start, end = family_figure._BOXES[first][:2], family_figure._BOXES[second][:2]
        for box, other in ((start, end), (end, start)):
            edge = family_figure._edge(box, other)
            across, up = (abs(a - b) for a, b in zip(edge, box, strict=True))
            wide, high = family_figure._HALF
            assert across <= wide + 1e-9 and up <= high + 1e-9
            assert across == pytest.approx(wide) or up == pytest.approx(high)
    assert family_html() == html


def test_the_text_of_a_sequence_has_the_last_numbers() -> None:
    def measures(perplexity: float) -> dict[str, float]:
        numbers = {"efficacy": 99.7, "generalization": 94.0, "specificity": 65.4, "exact": 93.7}
        return numbers | {"perplexity": perplexity}

    results = {
        "alphaedit <b>": {40: measures(25.5), 300: measures(31.4)},
        "memit": {40: measures(25.6), 300: measures(846.4)},
    }
    html = sequence_html(results)
    alt = html.partition('alt="')[2].partition('"')[0]
    assert alt.startswith("After 300 edits. alphaedit &lt;b&gt;: efficacy 99.7, ")
    assert "perplexity 31.4" in alt and "perplexity 846.4" in alt and "25.5" not in alt
    written = words(sequence_svg(results))
    for text in ("alphaedit <b>", "memit", "after 40 edits", "after 300 edits", "perplexity ←"):
        assert text in written, text
    assert sequence_html(results) == html
