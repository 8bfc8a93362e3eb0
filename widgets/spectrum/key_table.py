"""Kept share of the facts' keys by layer, as a table with an explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaedit_core.data.facts import Fact
from alphaedit_core.display.escaping import escape

#: A layer that keeps less than this share of a key can hardly write the fact.
LEAST = 0.05
#: Maximum number of facts whose keys are read and of rows shown.
MOST_FACTS, _ROWS = 200, 50


def verdict(shares: Mapping[int, float]) -> str:
    """Explain whether a fact can be written, given the kept share of its key by layer."""
    blocked = [layer for layer, share in shares.items() if share < LEAST]
    if not blocked:
        return "can be written"
    if len(blocked) == len(shares):
        return (
            "cannot be written: almost all of its key is outside the kept space (less than "
            f"{LEAST:.0%} inside); raise the threshold"
        )
    layers = ", ".join(map(str, blocked))
    return (
        f"hardly in layer{'s' if len(blocked) > 1 else ''} {layers}: under {LEAST:.0%} of its key "
        "survives there"
    )


def facts_table(
    facts: Sequence[Fact], shares: Mapping[int, Sequence[float]], selected: Fact | None = None
) -> str:
    """Render the kept share of each fact's key, by layer, as an HTML table.

    Args:
        facts: n facts.
        shares: by layer, one number for each fact, 0 to 1.
        selected: the fact that is marked.
    """
    layers = sorted(shares)
    head = "".join(f'<th scope="col">layer {layer}</th>' for layer in layers)
    rows = []
    for index, fact in enumerate(facts[:_ROWS]):
        fact_shares = {layer: shares[layer][index] for layer in layers}
        cells = "".join(
            f'<td class="ae-number">{share:.1%}<span class="ae-bar" aria-hidden="true">'
            f'<span style="width: {share:.0%}"></span></span></td>'
            for share in fact_shares.values()
        )
        explanation = verdict(fact_shares)
        state = "ae-ok" if explanation == "can be written" else "ae-warning"
        rows.append(
            f"<tr{' aria-current=true' if fact == selected else ''}>"
            f'<th scope="row" dir="auto">{escape(fact.subject)}</th>{cells}'
            f'<td><span class="{state}">{escape(explanation)}</span></td></tr>'
        )
    omitted_count = len(facts) - len(rows)
    caption = "Share of each fact's key kept by the projection, |P k|² / |k|²"
    return (
        f'<div class="ae-scroll"><table class="ae-table ae-survival" data-testid="survival">'
        f"<caption>{caption}</caption><thead><tr><th scope='col'>fact</th>{head}"
        f"<th scope='col'>in words</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        + (
            f'<p class="ae-quiet">{omitted_count} more facts are not shown.</p>'
            if omitted_count
            else ""
        )
    )


def keys_html(
    facts: Sequence[Fact],
    shares: Mapping[int, Sequence[float]],
    selected: Fact | None,
    *,
    has_facts: bool,
    stale: bool,
) -> str:
    """Return the table of the facts whose keys were read, or how to get one.

    Args:
        facts: the facts whose keys were read; none if none were.
        shares: by layer, the share of each fact's key that is kept; empty where it is not known.
        selected: the fact that is shown first.
        has_facts: whether any fact is entered.
        stale: whether facts or weights have changed since the keys were read.
    """
    if not has_facts:
        return (
            '<p class="ae-quiet">No facts yet. For each fact, this table shows the '
            "share of its key that an edit can use at this threshold.</p>"
        )
    if not facts:
        return '<p class="ae-quiet">Keys have not been read yet.</p>'
    note = "Facts or weights have changed since these keys were read; read them again."
    warning = f'<p class="ae-warning" data-testid="stale">{note}</p>' if stale else ""
    return warning + (facts_table(facts, shares, selected) if shares else "")
