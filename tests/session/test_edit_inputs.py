"""``EditSession.edit`` with facts as a caller has them at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from examples import FACTS, quiet
from sessions import new_session

from alphaedit_core.errors import InputError


def test_every_form_of_the_facts_gives_the_same_weights(cache: Path, tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.edit(list(FACTS[:2]), monitor=quiet())
    digest = session.weights_digest()
    rows = [fact.to_dict() for fact in FACTS[:2]]
    forms: list[Any] = [rows, iter(FACTS[:2])]
    forms.append(pytest.importorskip("pandas").DataFrame(rows))
    forms.append(pytest.importorskip("datasets").Dataset.from_list(rows))
    for facts in forms:
        session.reset()
        session.edit(facts, monitor=quiet())
        assert session.weights_digest() == digest
        assert session.history[0].facts == list(FACTS[:2])


def test_a_single_fact_needs_no_list(cache: Path, tmp_path: Path) -> None:
    session = new_session(tmp_path)
    assert len(session.edit(FACTS[0], monitor=quiet()).outcomes) == 1
    digest = session.weights_digest()
    session.reset()
    session.edit(FACTS[0].to_dict(), monitor=quiet())
    assert session.weights_digest() == digest
    with pytest.raises(InputError, match='fact 1: field "target" is missing'):
        session.edit({"subject": "Rome", "prompt": "{} is in"}, monitor=quiet())
    assert session.applied == 1
