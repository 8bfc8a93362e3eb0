"""A panel that compares two states of a tiny model, and what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.compare.panel import ComparePanel
from alphaedit_widgets.state import State

#: Its subject ends the prompt, so that even a tiny random model can be made to say it.
FACT = Fact("Newton", "The old mechanics of {}", "Rome", "Japan")
#: The other fact that is written.
OTHER = FACTS[3]
#: A template of chats that tiny tokenizers can read.
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)


def edited_session(place: Path) -> EditSession:
    """Two edits, of which the first is written so that the model says it."""
    session = fresh(place)
    session.edit([FACT], monitor=quiet())
    session.edit([OTHER], monitor=quiet())
    session.restore(1)
    assert session.history[0].result.written == 1
    return session


def fresh(place: Path, chat: bool = False) -> EditSession:
    """A session without edits of a model that does not end its texts."""
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.chat_template = TEMPLATE if chat else None
    model = tiny_model("llama", tokenizer)
    # A random model likes to end its texts at once.
    tokenizer.eos_token = model.model.generation_config.eos_token_id = None
    return EditSession(
        model,
        hyperparameters=small(
            place, layers=(1, 2), clamp_norm_factor=5.0, ridge=0.1, target_steps=25
        ),
        contexts=CONTEXTS[:1],
    )


def compare_panel(edited: EditSession) -> Iterator[ComparePanel]:
    """A panel of both facts, at the first edit."""
    edited.restore(1)
    made = ComparePanel(edited)
    made.state.facts = (FACT, OTHER)
    yield made
    made.state.preempt_background_job()
    # Else it would follow the session, and ask the model, until it is collected as garbage.
    edited._watchers.clear()
    edited.restore(1)


def wait(state: State) -> None:
    """Until nothing runs any more."""
    while state.busy:
        assert state.job is not None and state.job.wait(20)


def words_of(html: str) -> str:
    """The text of a piece of HTML."""
    return unescape(re.sub(r"<[^>]+>", "", html))


def text_of(html: str, testid: str) -> str:
    """The text of the element of this id."""
    found = re.search(rf'data-testid="{testid}"[^>]*>([^<]*)<', html)
    assert found, f"{testid} is not there"
    return unescape(found[1])
