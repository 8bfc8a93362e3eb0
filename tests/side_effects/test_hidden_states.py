"""Hidden states of unrelated prompts, compared with the model's forward pass and by hand."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model, tiny_tokenizer
from torch import Tensor

from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.hidden_states import (
    DEFINITIONS,
    TOKENS,
    compare_states,
    end_states,
    hidden_drift,
    sentences_without,
    unrelated_prompts,
)
from alphaedit_core.side_effects.hidden_states_figure import mean_of

PROMPTS = [
    "The Louvre is in the city",
    "Berlin",
    "I know that Tokyo is in Japan, and that Rome is old",
    "京都は古い",
    prose(80, seed=3),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("hidden")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_session(place: Path, layout: str = "llama") -> EditSession:
    hp = small(place, ridge=0.01, target_steps=12, clamp_norm_factor=3.0)
    return EditSession(tiny_model(layout), hyperparameters=hp, contexts=CONTEXTS[:1])


@pytest.fixture(scope="module")
def session(place: Path) -> EditSession:
    """A session with two applied edits, which no test changes."""
    made = new_session(place)
    for fact in FACTS[:2]:
        made.edit([fact], monitor=quiet())
    return made


@torch.no_grad()
def plain(session: EditSession, number: int, prompts: list[str], layer: int = 1) -> Tensor:
    """Return the hidden states of the whole model, one prompt at a time."""
    model, rows = session.model, []
    with session.at_state(number):
        for prompt in prompts:
            ids = encode(model.tokenizer, prompt)[0][:TOKENS]
            output = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            rows.append(output.hidden_states[layer + 1][0, -1])
    return torch.stack(rows).double()


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_states_are_those_of_the_whole_model(place: Path, layout: str) -> None:
    session = new_session(place, layout)
    for layer in (0, 1):
        found = end_states(session.model, PROMPTS, layer, quiet())
        assert torch.allclose(found.double(), plain(session, 0, PROMPTS, layer), atol=1e-5)


def test_numbers_follow_their_formulas(session: EditSession) -> None:
    found = hidden_drift(session, 2, PROMPTS, quiet())
    before, after = (plain(session, number, PROMPTS).numpy() for number in (0, 2))
    norms = np.linalg.norm(before, axis=1)
    moved = np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)) / norms.mean()
    assert found.mean_shift == pytest.approx(moved, rel=1e-4) and moved > 0.01
    each = np.mean(np.linalg.norm(after - before, axis=1) / norms)
    assert found.prompt_shift == pytest.approx(each, rel=1e-4) == np.mean(found.moved)
    shares = np.linalg.norm(after - before, axis=1) / norms
    assert found.moved == pytest.approx(shares, rel=1e-4)
    first = int(shares.argmax())
    assert found.most_moved(1) == [(PROMPTS[first], f"{found.moved[first]:.2%}")]
    both = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(before, after, strict=True)
    ]
    assert found.cosine == pytest.approx(np.mean(both), rel=1e-5)
    assert (found.number, found.layer, found.prompts) == (2, 1, tuple(PROMPTS))


def test_the_projection_agrees_with_the_covariance(session: EditSession) -> None:
    """The components are also the eigenvectors of the covariance of the unedited states."""
    found = hidden_drift(session, 2, PROMPTS, quiet())
    before, after = (plain(session, number, PROMPTS).numpy() for number in (0, 2))
    center = before.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((before - center).T))
    for place, share in enumerate(found.explained):
        axis = vectors[:, -1 - place]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        assert share == pytest.approx(values[-1 - place] / values.sum(), rel=1e-4)
        for points, states in ((found.before, before), (found.after, after)):
            expected = (states - center) @ axis
            assert [point[place] for point in points] == pytest.approx(expected, abs=1e-3)
    assert mean_of(found.before) == pytest.approx((0, 0), abs=1e-6)


def test_by_hand() -> None:
    before = torch.tensor([[3.0, 0.0, 4.0], [-3.0, 0.0, 4.0], [0.0, 1.0, 4.0], [0.0, -1.0, 4.0]])
    after = before + torch.tensor([0.0, 2.0, 0.0])
    found = compare_states(before, after, 1, 5, "abcd")
    norms = [5.0, 5.0, 17**0.5, 17**0.5]
    assert found.mean_shift == pytest.approx(2 / (sum(norms) / 4))
    assert found.prompt_shift == pytest.approx(sum(2 / norm for norm in norms) / 4)
    cosines = [25 / 5 / 29**0.5] * 2 + [19 / 17**0.5 / 5, 15 / 17**0.5 / 17**0.5]
    assert found.cosine == pytest.approx(sum(cosines) / 4)
    assert found.explained == pytest.approx((0.9, 0.1))
    points = np.array(found.before)
    assert points == pytest.approx(np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]))
    assert mean_of(found.after) == pytest.approx((0, 2))
    mirrored = compare_states(before.flip(0), after.flip(0), 1, 5, "dcba")
    assert np.array(mirrored.before) == pytest.approx(points[::-1])


def test_without_an_edit_nothing_moves(session: EditSession) -> None:
    found = hidden_drift(session, 0, PROMPTS, quiet())
    assert (found.mean_shift, found.prompt_shift) == (0.0, 0.0)
    assert found.cosine == pytest.approx(1.0) and found.before == found.after
    same = compare_states(torch.ones(3, 4), torch.ones(3, 4), 0, 0, "abc")
    assert same.explained == (0.0, 0.0) and same.mean_shift == 0.0


def test_an_undone_edit_can_be_measured(place: Path, session: EditSession) -> None:
    own = new_session(place)
    for fact in FACTS[:2]:
        own.edit([fact], monitor=quiet())
    own.restore(0)
    digest = own.weights_digest()
    assert hidden_drift(own, 2, PROMPTS, quiet()) == hidden_drift(session, 2, PROMPTS, quiet())
    assert (own.weights_digest(), own.applied) == (digest, 0)


# -- prompts ---------------------------------------------------------------------------------------


def test_sentences_are_taken_from_all_documents_in_turn(session: EditSession, place: Path) -> None:
    file = place / "three.txt"
    file.write_text(
        "Paris is an old city. Too short. Rome is in Italy!  The Louvre stands there too.\f"
        "Berlin is the capital of Germany (in Europe).\nParis is an old city.\f"
        "The NEWTON method is named after him. 京都は古い都です。 Tokyo and Rome are both old",
        encoding="utf-8",
    )
    assert unrelated_prompts(session, 10, file) == [
        "Paris is an old city",
        "Berlin is the capital of Germany (in Europe",
        "Rome is in Italy",
        "Tokyo and Rome are both old",
        "The Louvre stands there too",
    ]
    assert unrelated_prompts(session, 3, file) == unrelated_prompts(session, 10, file)[:3]


def test_a_subject_matches_whole_words_only(session: EditSession, place: Path) -> None:
    file = place / "words.txt"
    file.write_text(
        "Italy is far away. It is an old city. Some of it is old.\f東京は 古い 都 です。\f"
        "Digits come after letters. The merit was his own.",
        encoding="utf-8",
    )
    assert sentences_without(["It", "東京"], session.model, file) == [
        "Italy is far away",
        "Digits come after letters",
        "The merit was his own",
    ]


def test_the_default_text_is_that_of_drift(session: EditSession) -> None:
    found = hidden_drift(session, 1, monitor=quiet())
    assert list(found.prompts) == unrelated_prompts(session, monitor=quiet())
    assert len(found.prompts) > 10
    assert not [text for text in found.prompts if "eiffel tower" in text.casefold()]


def test_invalid_prompts_and_states_are_refused(session: EditSession, place: Path) -> None:
    for prompts, message in (
        ("Rome is", 'the prompts "Rome is" are one text; give a list'),
        (["a", "b"], "2 prompts are too few; give at least 3"),
        (["a", " ", "c"], 'prompt 2 "" is blank'),
        (["a", 5, "c"], "prompt 2 5 is a number"),
    ):
        with pytest.raises(InputError, match=message):
            hidden_drift(session, 1, prompts, quiet())  # type: ignore[arg-type]
    short = place / "short.txt"
    short.write_text("Rome is very old. Newton was born here.", encoding="utf-8")
    with pytest.raises(InputError, match=r"short\.txt.* has 1 sentences without a subject"):
        unrelated_prompts(session, probe=short)
    for number in (-1, 3):
        with pytest.raises(SessionError, match=f"no state {number}; give 0 to 2"):
            hidden_drift(session, number, PROMPTS, quiet())


def test_cancel_stops_and_changes_nothing(session: EditSession) -> None:
    digest, stop = session.weights_digest(), threading.Event()

    def show(stage: Any, *, closed: bool) -> None:
        if stage.done > len(PROMPTS):  # while the edited state is measured
            stop.set()

    with pytest.raises(Canceled):
        hidden_drift(session, 1, PROMPTS, Monitor(show, stop))
    assert session.weights_digest() == digest


def test_special_tokens_occur_only_before_a_prompt(place: Path) -> None:
    tokenizer = tiny_tokenizer(bos=True, closing=True)
    session = EditSession(tiny_model("llama", tokenizer), hyperparameters=small(place))
    found = end_states(session.model, PROMPTS, 1, quiet())
    assert torch.allclose(found.double(), plain(session, 0, PROMPTS), atol=1e-5)


# -- display ---------------------------------------------------------------------------------------


def test_table_figure_and_json_agree(session: EditSession) -> None:
    found = hidden_drift(session, 2, PROMPTS, quiet())
    html = found._repr_html_()
    for name, value in found.rows():
        assert value in html and name in repr(found)
    assert "‖mean h&#x27; − mean h‖" in html and len(DEFINITIONS) == len(found.rows())
    [alt] = re.findall(r'<img alt="([^"]*)"', html)
    assert f"Mean shift {found.mean_shift:.2%}" in alt and "after edit 2" in alt
    assert html == found._repr_html_()
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["after"] == [list(point) for point in found.after]
    assert stored["mean_shift"] == found.mean_shift and len(stored["prompts"]) == len(PROMPTS)
    assert not any(math.isnan(number) for point in stored["after"] for number in point)
