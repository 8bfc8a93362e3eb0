"""An edit in the workbench, on the real default model, and all that its tabs show of it.

The tests share one page and go on where the one before ended: an edit takes seconds, so each is
made once. The numbers in brackets name the criteria of the screens. Where a criterion gives a time,
a test allows several times as much: it is to find what hangs, not a machine that is busy.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from pages import Page, expect
from workbench_page import EDIT, TITLES, digest_of, eventually, ready


@pytest.fixture(scope="module", autouse=True)
def two_facts(wb: Page) -> None:
    """Two facts to write, and the tab that writes them."""
    wb.python("wb.facts = example_facts()[:2]")
    wb.tab("Edit")
    expect(wb.page.locator("button.ae-run")).to_be_enabled(timeout=60_000)
    ready(wb)
    wb.python("pass")  # answered when the tab's figure has been made


def test_an_edit(wb: Page) -> None:
    """[S3.2, S3.3, S3.7, S4.1, S4.2, S6.1]"""
    page = wb.page
    page.locator("button.ae-run").click()
    seen = set()
    expect(wb.by_testid("status")).to_have_text("running: edit", timeout=5_000)
    for _ in range(EDIT // 200):
        text = wb.by_testid("run-state").text_content()
        seen.add(text)
        if text == "done":
            break
        time.sleep(0.2)
    assert len({text for text in seen if text.startswith("step")}) >= 3
    expect(wb.by_testid("run-summary")).to_contain_text("2 of 2 facts written", timeout=10_000)
    expect(wb.by_testid("session")).to_contain_text("edits: 1")
    ends = wb.python(
        "t = [o.trace for o in session.last_result.outcomes]; f = wb.edit.figure.figure; "
        "print([len(x.probability) for x in t] == [len(d.y) for d in f.data[3:5]], "
        "[x.probability[-1] for x in t] == [d.y[-1] for d in f.data[3:5]])"
    )
    assert ends == "True True"
    wb.shot("edit")
    wb.tab("Facts")
    expect(wb.by_testid("fact-status")).to_have_text("applied")


def test_before_and_after(wb: Page) -> None:
    """[S4.1, S4.2, S4.4, S4.5, S4.7]"""
    page = wb.page
    wb.tab("Compare")
    ready(wb)
    if not page.locator('[data-testid="delta-new"]').count():
        page.locator("button.ae-compare-run").click()
    expect(wb.by_testid("delta-new")).to_contain_text("+", timeout=60_000)
    expect(wb.by_testid("heading-before")).to_contain_text("Before: 0 original")
    expect(wb.by_testid("heading-after")).to_contain_text("After: 1")
    chips = page.locator('[data-testid="chip"]:visible')
    words = chips.locator(".ae-chip-text").all_text_contents()
    assert "·Rome" in words and "·Paris" in words
    assert page.locator(".ae-compare ins, .ae-compare del").count() > 0
    top = page.locator('[data-testid="top"]:visible').first
    expect(top).to_contain_text("Alternatives to ·Paris")  # the first one that differs
    chips.nth(1).focus()
    expect(top).to_contain_text("Alternatives to ,")
    assert len(re.findall(r"\d\.\d+|\d+ ?%", top.inner_text())) >= 5
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    wb.shot("compare")


def test_another_reference(wb: Page) -> None:
    """[S4.3, S4.8]"""
    wb.python("wb.state.reference = 1; wb.compare.compare()")
    expect(wb.by_testid("heading-before")).to_contain_text("Before: 1", timeout=60_000)
    expect(wb.by_testid("no-difference")).to_contain_text("no difference", timeout=60_000)
    ready(wb)
    assert wb.page.locator(".ae-compare ins:visible, .ae-compare del:visible").count() == 0
    wb.python("wb.state.reference = 0")


def test_what_fails_stays_until_it_is_dismissed(wb: Page) -> None:
    """[S0.3, S3.5]"""
    page = wb.page
    digest = digest_of(wb)
    wb.python(
        "import alphaedit_core.session.session as core; kept = core._result; "
        "core._result = lambda *a: 1 / 0; wb.facts = example_facts()[2:3]; "
        "wb.session.hyperparameters = wb.session.hyperparameters.replace(target_steps=2)"
    )
    wb.tab("Edit")
    page.locator("button.ae-run").click()
    expect(wb.by_testid("alert")).to_contain_text("edit failed: ZeroDivisionError", timeout=EDIT)
    page.wait_for_timeout(5_000)
    expect(wb.by_testid("alert")).to_be_visible()
    page.locator("button.ae-dismiss").click()
    expect(page.locator('[data-testid="alert"]')).to_have_count(0)
    wb.python(
        "core._result = kept; wb.facts = example_facts()[:2]; "
        "wb.session.hyperparameters = wb.session.hyperparameters.replace(target_steps=25)"
    )
    assert digest_of(wb) == digest and wb.python("print(session.applied)") == "1"
    expect(page.locator("button.ae-run")).to_be_enabled()
    wb.tab("Compare")


def test_a_text_from_the_model_is_never_markup(wb: Page) -> None:
    """[S4.6]"""
    page = wb.page
    wb.python("wb.state.prompt = '<img src=x onerror=\"window.__pwned=1\"> The'")
    page.locator("button.ae-compare-run").click()
    ready(wb)
    wb.python("wb.facts = [Fact('<img src=x onerror=\"window.__pwned=1\">', '{} is in', 'Rome')]")
    # A drift panel that has been opened measures by itself; a later test does that on a click.
    wb.python("wb.drift.auto = False")
    for title in TITLES:
        wb.tab(title)
        wb.settle()
    page.wait_for_timeout(300)  # an image that does not load says so a moment later
    assert page.evaluate("window.__pwned") is None
    wb.python("wb.facts = example_facts()[:2]; wb.state.prompt = ''")


def test_undo_and_redo_bit_for_bit(wb: Page) -> None:
    """[S5.1, S5.2, S5.3, S5.4]"""
    page = wb.page
    wb.tab("History")
    ready(wb)
    edited = digest_of(wb)
    table = wb.by_testid("history-table")
    expect(table.locator("tbody tr").first).to_contain_text("current")
    start = time.monotonic()
    page.locator("button.ae-undo").click()
    expect(wb.by_testid("session")).to_contain_text("edits: 0")
    assert time.monotonic() - start < 5
    assert digest_of(wb) != edited
    expect(page.locator("button.ae-undo")).to_be_disabled()
    expect(wb.by_testid("redo-warning")).to_contain_text("1 undone edit")
    page.locator("button.ae-redo").click()
    expect(wb.by_testid("session")).to_contain_text("edits: 1")
    ready(wb)
    assert digest_of(wb) == edited


def test_clear_asks_first(wb: Page) -> None:
    """[S5.5]"""
    page = wb.page
    clear = page.locator(".ae-history button.ae-clear")
    keep = page.locator("button.ae-confirm-no")
    clear.click()
    expect(keep).to_be_focused()
    page.keyboard.press("Escape")
    expect(keep).to_be_hidden()
    clear.focus()
    page.keyboard.press("Enter")
    expect(keep).to_be_focused()
    page.keyboard.press("Enter")
    expect(keep).to_be_hidden()
    assert wb.python("print(session.applied)") == "1"


def test_probes(wb: Page) -> None:
    """[S7.1, S7.5]"""
    page = wb.page
    wb.tab("Probes")
    ready(wb)
    page.locator("button.ae-measure-probes").click()
    expect(wb.by_testid("agg-reliability")).to_contain_text("1 of 1", timeout=60_000)
    ready(wb)
    counts = json.loads(
        wb.python(
            "import json; k = {}\n"
            "for row in wb.probes.rows: k.setdefault(row.probe.kind, []).append(row.passed)\n"
            "print(json.dumps({a: [sum(b), len(b)] for a, b in k.items()}))"
        )
    )
    for kind, (passed, count) in counts.items():
        expect(wb.by_testid(f"agg-{kind}")).to_contain_text(f"{passed} of {count}")
    wb.by_testid("probes").locator("tbody tr").nth(1).click()
    prompt = wb.python("print(wb.state.prompt)")
    assert prompt and prompt in wb.by_testid("probes").inner_text()


def test_drift_is_measured(wb: Page) -> None:
    """[S6.1, S6.2, S6.3]"""
    wb.tab("Drift")
    ready(wb)
    expect(wb.by_testid("drift-band")).to_contain_text("edit 1 is not measured")
    wb.page.locator(".ae-drift button.ae-measure").click()
    expect(wb.by_testid("drift-band")).to_contain_text(re.compile("ok|watch|bad"), timeout=60_000)
    rows = wb.by_testid("drift-table").locator("tbody tr")
    expect(rows).to_have_count(2)
    same = wb.python(
        "d = wb.drift.drifts[1]; f = wb.drift.figure.figure; "
        "print(any(len(t.y) == 2 and t.y[0] == 0 and abs(t.y[1] - d.kl) < 1e-9 for t in f.data))"
    )
    assert same == "True"
    wb.python("wb.drift.auto = True")


def test_hidden_states_before_and_after(wb: Page) -> None:
    """What is shown is the comparison that the core makes, with a picture."""
    ready(wb)
    expect(wb.page.locator(".ae-hidden-states")).to_contain_text("not compared")
    wb.page.locator("button.ae-compare-hidden").click()
    table = wb.by_testid("hidden-table")
    expect(table.locator("tbody tr")).to_have_count(4, timeout=EDIT)
    ready(wb)
    printed = wb.python(
        "from alphaedit_core.side_effects.hidden_states import hidden_drift; "
        "h = wb.drift.hidden.result; "
        "print(hidden_drift(session, 1, h.prompts) == h, f'{h.mean_shift:.2%}')"
    )
    same, shift = printed.split()
    assert same == "True"
    expect(table).to_contain_text(shift)
    expect(wb.by_testid("hidden-most").locator("tbody tr")).to_have_count(5)
    picture = wb.page.locator(".ae-hidden-states img")
    expect(picture).to_have_attribute("alt", re.compile(f"200 unrelated prompts.*{shift}"))
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
    wb.shot("hidden-states")


def test_two_editors_side_by_side(wb: Page) -> None:
    """Each from the unedited model; the session's own edit is there again afterwards."""
    page = wb.page
    digest = digest_of(wb)
    wb.tab("Editors")
    ready(wb)
    # Perplexity is measured on less text: it would take most of the time.
    wb.python("from alphaedit_widgets.editors import panel as own; own._PROBE = 3000")
    expect(page.get_by_label("First editor", exact=True)).to_have_value("alphaedit")
    page.get_by_label("Second editor", exact=True).select_option("memit")
    page.locator("button.ae-compare-editors").click()
    table = wb.by_testid("editors-scores")
    expect(table).to_contain_text("memit -projection -previous-keys", timeout=EDIT)
    expect(table.locator("tbody tr")).to_have_count(3)
    expect(wb.by_testid("editors-facts")).to_contain_text("written")
    ready(wb)
    assert digest_of(wb) == digest and wb.python("print(session.applied)") == "1"
    wb.shot("editors")


def test_an_experiment(wb: Page, tmp_path: Path) -> None:
    """Two records in the unedited model; the session's own edit is there again afterwards."""
    page = wb.page
    before = digest_of(wb), wb.python("print(session.applied)")
    file, folder = tmp_path / "records.json", tmp_path / "kept"
    rewrites = [
        ("Eiffel Tower", "{} is located in the city of", "Rome", "Paris"),
        ("The Colosseum", "{} is located in the city of", "Athens", "Rome"),
    ]
    records = [
        {
            "requested_rewrite": {
                "subject": subject,
                "prompt": prompt,
                "target_new": {"str": new},
                "target_true": {"str": true},
            },
            "generation_prompts": [f"{subject} is"],
        }
        for subject, prompt, new, true in rewrites
    ]
    file.write_text(json.dumps(records), encoding="utf-8")
    wb.tab("Experiment")
    ready(wb)
    page.get_by_label("File", exact=True).fill(str(file))
    page.get_by_label("Number of records").fill("2")
    page.locator(".ae-experiment").get_by_label("Batch size").fill("2")
    page.get_by_label("Editors", exact=True).fill("memit +previous-keys")
    page.get_by_label("Output folder").fill(str(folder))
    page.keyboard.press("Tab")
    eventually(wb, f"wb.experiment.folder.value == {str(folder)!r}")
    page.locator("button.ae-run-experiment").click()
    table = wb.by_testid("experiment-table")
    expect(table).to_contain_text("memit -projection +previous-keys", timeout=EDIT)
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(page.locator(".ae-experiment img[alt*='efficacy']").first).to_be_visible()
    ready(wb)
    assert (digest_of(wb), wb.python("print(session.applied)")) == before
    assert (folder / "report.html").is_file()
    wb.shot("experiment")


def test_a_session_is_downloaded(wb: Page) -> None:
    """[S8.1]"""
    wb.tab("Export")
    with wb.page.expect_download(timeout=60_000) as waiting:
        wb.page.locator("button.ae-download-json").click()
    content = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    text = json.dumps(content)
    for part in ("smollm2-135m", "hyperparameters", "seed", "torch", "schema"):
        assert part in text


def test_the_report_stands_alone(wb: Page, tmp_path: Path) -> None:
    """[S8.3]"""
    with wb.page.expect_download(timeout=60_000) as waiting:
        wb.page.locator("button.ae-download-report").click()
    file = tmp_path / "report.html"
    waiting.value.save_as(file)
    page = wb.page.context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    expect(page.locator("img[alt*='layer']").first).to_be_visible()
    expect(page.locator("table").filter(has_text="Eiffel Tower").first).to_be_visible()
    wb.shot("report")
    page.close()


def test_all_is_there_after_save_and_reload(wb: Page) -> None:
    """[S0.4, S2.6, S5.7]"""
    page = wb.page
    wb.tab("Spectrum")
    ready(wb)
    wb.python("wb.spectrum.threshold = 0.05; wb.spectrum.layer = 6")
    expect(page.locator(".ae-spectrum .gtitle").first).to_contain_text("Layer 6")
    ready(wb)
    texts = [wb.by_testid(name).text_content() for name in ("session", "rank", "leakage")]
    title = page.locator(".ae-spectrum .gtitle").first.text_content()
    wb.command("docmanager:save")
    page.reload(wait_until="domcontentloaded")
    wb.ready()
    expect(wb.by_testid("session")).to_have_text(texts[0], timeout=60_000)
    expect(wb.by_testid("rank")).to_have_text(texts[1])
    expect(wb.by_testid("leakage")).to_have_text(texts[2])
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)  # of bars that have ended
    expect(page.locator(".ae-spectrum .gtitle").first).to_have_text(title)
    wb.python("wb.spectrum.threshold = 0.02")
    expect(wb.by_testid("rank")).to_contain_text("rank")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_contrast(wb: Page, theme: str) -> None:
    """[S9.2] Writing against the page's background is at least 4.5 to 1."""
    page = wb.page
    wb.command("apputils:change-theme", {"theme": theme})
    page.wait_for_timeout(1_500)
    ratio = """() => {
        const light = text => {
            const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const probe = document.createElement('i');
        probe.style.color = 'var(--jp-layout-color0)';
        document.body.append(probe);
        const paper = light(getComputedStyle(probe).color);
        probe.remove();
        const kinds = ['.ae-panel .ae-quiet', '.ae-panel h3', '.ae-panel .ae-big'];
        const found = kinds.map(k => getComputedStyle(document.querySelector(k)).color);
        const tick = document.querySelector('.ae-figure .xtick text');
        if (tick) found.push(getComputedStyle(tick).fill);
        return found.map(c => {
            const [a, b] = [light(c), paper].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
        });
    }"""
    assert min(page.evaluate(ratio)) >= 4.5
    for title in TITLES:
        wb.tab(title)
        wb.settle()
        wb.shot(f"{theme.split()[-1].lower()}-{title.lower()}")


@pytest.mark.parametrize("width", [900, 700])
def test_nothing_is_cut_off_in_a_narrow_window(wb: Page, width: int) -> None:
    """[S4.9, S9.3]"""
    page = wb.page
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(500)
    over = {}
    for title in TITLES:
        wb.tab(title)
        wb.settle()
        wb.shot(f"narrow-{width}-{title.lower()}")
        over[title] = page.evaluate(
            """() => {
                const box = document.querySelector('.ae-workbench');
                const right = box.getBoundingClientRect().right + 2;
                return [...box.querySelectorAll('button, input, select, textarea')]
                    .filter(e => e.offsetParent && !e.closest('.ae-scroll, .modebar'))
                    .filter(e => e.getBoundingClientRect().right > right)
                    .map(e => e.getAttribute('aria-label') || e.textContent || e.className);
            }"""
        )
    page.set_viewport_size({"width": 1280, "height": 1000})
    assert {title: names for title, names in over.items() if names} == {}


def test_every_control_has_a_name(wb: Page) -> None:
    """[S9.1]"""
    for title in TITLES:
        wb.tab(title)
        wb.settle()
        tree = wb.page.locator(".ae-workbench").first.aria_snapshot()
        bare = re.findall(
            r"^\s*- (?:slider|textbox|combobox|checkbox|spinbutton|button)(?: \[[^\]]*\])*:?$",
            tree,
            re.M,
        )
        assert bare == [], f"{title}: {bare}"


def test_at_most_three_figures_are_alive(wb: Page) -> None:
    """[S9.8]"""
    count = wb.python(
        "import gc, plotly.graph_objects as go; "
        "print(sum(issubclass(type(o), go.FigureWidget) for o in gc.get_objects()))"
    )
    assert int(count) <= 3


def test_the_kernel_is_idle_when_nothing_is_done(wb: Page) -> None:
    ready(wb)
    spent = wb.python(
        "import time, psutil; p = psutil.Process(); a = sum(p.cpu_times()[:2]); time.sleep(3); "
        "print(sum(p.cpu_times()[:2]) - a)"
    )
    assert float(spent) < 0.3


def test_nothing_left_the_machine_and_nothing_broke(wb: Page) -> None:
    """[S0.5]"""
    assert wb.outside == []
    assert wb.errors == []


def test_a_restarted_kernel_is_seen(wb: Page) -> None:
    """[S0.4]"""
    page = wb.page
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    gone = page.locator(".ae-workbench .jupyter-widgets-disconnected")
    gone.first.wait_for(state="attached", timeout=10_000)
