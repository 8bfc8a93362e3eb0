"""The comparison as HTML; all text from the model or the user is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from alphaedit_core.display.escaping import escape
from alphaedit_core.evaluation.before_after import Comparison, HistoryPoint, Question
from alphaedit_core.inference.scores import Score
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import table
from alphaedit_widgets.components.token_chips import visible

#: Markup of a marked word: element, sign and screen reader text.
_WORD = {
    "added": ("ins", "+", "added"),
    "removed": ("del", "−", "removed"),
    "same": ("mark", "=", "matches"),
}


def state_name(session: EditSession, number: int) -> str:
    """Return a state's name in headings: ``0 original``, ``2``, ``2 capitals``."""
    if number == 0:
        return "0 original"
    history = session.history
    title = history[number - 1].title if number <= len(history) else ""
    return f"{number} {title}".rstrip()


def words_html(pieces: Sequence[str], marks: Sequence[str]) -> str:
    """Render a text whose marked words carry a sign and screen reader text."""
    parts = []
    for mark, group in groupby(zip(pieces, marks, strict=True), lambda pair: pair[1]):
        content_html = escape("".join(piece for piece, _ in group))
        if mark:
            tag, sign, sr_text = _WORD[mark]
            content_html = (
                f'<{tag} class="ae-word"><span class="ae-hidden">{sr_text}: </span>'
                f'<span class="ae-sign" aria-hidden="true">{sign}</span>{content_html}</{tag}>'
            )
        parts.append(content_html)
    return "".join(parts)


def ratings_html(comparison: Comparison) -> str:
    """Render probability and rank of both targets: before, after and change."""
    question, rows = comparison.question, []
    for name, target, score_before, score_after in (
        ("new", question.new, comparison.before.ratings.new, comparison.after.ratings.new),
        ("true", question.true, comparison.before.ratings.true, comparison.after.ratings.true),
    ):
        if target is None or score_before is None or score_after is None:
            continue
        cells = {
            f"p-{name}-before": _probability(score_before.probability),
            f"p-{name}-after": _probability(score_after.probability),
            f"delta-{name}": _change(score_before, score_after),
            f"rank-{name}": f"{score_before.rank:,} → {score_after.rank:,}",
        }
        rows.append(
            f'<tr><th scope="row">{name} target: <bdi>{escape(target)}</bdi></th>'
            + "".join(
                f'<td class="ae-number" data-testid="{testid}">{cell}</td>'
                for testid, cell in cells.items()
            )
            + "</tr>"
        )
    if not rows:
        return ""
    kind = "as the answer in chat" if question.chat else "after this prompt"
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("", "before", "after", "change", "rank of its first token")
    )
    return (
        '<div class="ae-scroll"><table class="ae-table" data-testid="ratings">'
        f"<caption>Probability of the targets {kind} (geometric mean over their tokens)</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def chat_html(comparison: Comparison) -> str:
    """Whether a fact that is right as text is right in chat, too."""
    target, ratings = comparison.question.new, comparison.after.ratings
    if target is None or ratings.new is None or ratings.as_text is None:
        return ""
    as_text = "the top prediction" if ratings.as_text.exact else "not the top prediction"
    named = comparison.after.names(target)
    if ratings.new.exact:
        chat_result = "it is"
    elif named:
        chat_result = "it is not, but the answer contains it"
    else:
        chat_result = "it is not, and the answer does not contain it"
    text_only = ratings.as_text.exact and not (ratings.new.exact or named)
    message = f"as text: new target is {as_text}; in chat: {chat_result}"
    css_class = "ae-warning" if text_only else "ae-ok" if ratings.new.exact or named else "ae-quiet"
    return f'<p role="status" class="{css_class}" data-testid="chat-check">{escape(message)}</p>'


def history_html(session: EditSession, question: Question, points: Sequence[HistoryPoint]) -> str:
    """Render a matplotlib figure and a table of both targets' probabilities in every state."""
    from alphaedit_core.evaluation.history_figure import history_html as figure

    rows = [
        [
            state_name(session, point.number),
            *_cells(point.new),
            *_cells(point.true),
        ]
        for point in points
    ]
    return figure(points, question.new or "", question.true) + table(
        ["state", "P(new)", "rank of new", "P(true)", "rank of true"],
        rows,
        "targets-through-history",
        f"New target: {question.new}; true target: {question.true or 'none given'}.",
    )


def sides_html(session: EditSession, comparison: Comparison) -> str:
    """Render both texts as a table, for display without a kernel."""
    rows = [
        [
            f"{side}: {state_name(session, answer.number)}",
            answer.text,
            " ".join(f"{visible(step.label)} {step.probability:.2f}" for step in answer.steps),
        ]
        for side, answer in (("Before", comparison.before), ("After", comparison.after))
    ]
    return f"<p>Prompt: {escape(comparison.question.prompt)}</p>" + table(
        ["state", "continuation", "tokens and their probabilities"], rows, "compared"
    )


def summary_words(comparison: Comparison) -> str:
    """Summarize the comparison in one line, with numbers of at most two digits."""
    first, last = comparison.before.ratings.new, comparison.after.ratings.new
    rated = ""
    if first and last:
        rated = f", P(new target) {first.probability:.2f} → {last.probability:.2f}"
    return (
        f"{short(comparison.question.prompt)!r}, before {comparison.before.number}: "
        f"{short(comparison.before.text)!r}, after {comparison.after.number}: "
        f"{short(comparison.after.text)!r}{rated}"
    )


def short(text: str, length: int = 40) -> str:
    """Truncate a text to a number of characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _probability(probability: float) -> str:
    """Format to four decimals, or as a power of ten if these would all be zero."""
    if 0 < probability < 0.0001:
        return f"{probability:.1e}"
    return f"{probability:.4f}"


def _change(before: Score, after: Score) -> str:
    change = after.probability - before.probability
    if change == 0:
        return "0"
    return f"{change:+.1e}" if abs(change) < 0.0001 else f"{change:+.4f}"


def _cells(score: Score | None) -> list[str]:
    return ["", ""] if score is None else [_probability(score.probability), f"{score.rank:,}"]
