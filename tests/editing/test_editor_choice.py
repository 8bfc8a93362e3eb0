"""Registered editors, their documentation, and invalid choices."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from editor_sessions import ALL
from examples import small
from tiny import tiny_model

from alphaedit_core import registry
from alphaedit_core.editing.configs import make_config
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.editing.editors import registry as editors_module
from alphaedit_core.editing.editors.registry import editor_class, editors, register
from alphaedit_core.errors import InputError
from alphaedit_core.session.session import EditSession


def test_departures_are_documented() -> None:
    departures = {name: " ".join(editor.departures) for name, editor in editors().items()}
    for name, words in {
        "ft": ("64 facts", "last position"),
        "ft-l": ("64 facts", "last position"),
        "pmet": ("a tenth", "KL term is at most 0.01"),
        "emmet": ("weight on C", "10,000 and 100,000", "a single fact"),
        "rome": ("Llama-3", "20"),
        "r-rome": ("Llama-3", "20"),
        "rect": ("0.4",),
        "rect-by-layer": ("at the end",),
    }.items():
        assert all(word in departures[name] for word in words), (name, departures[name])


def test_all_published_editors_are_registered() -> None:
    assert ALL == [
        "alphaedit", "memit", "pmet", "emmet", "rome", "r-rome", "rect", "rect-by-layer",
        "rect-rome", "prune", "ft", "ft-l",
    ]  # fmt: skip
    for editor in editors().values():
        assert len(editor.about) > 20 and editor.about.endswith(".") and editor.source
    assert [n for n, e in editors().items() if e.projection] == ["alphaedit"]
    assert [n for n, e in editors().items() if e.previous_keys] == ["alphaedit"]


@pytest.mark.parametrize("name", ALL)
def test_published_method_is_default(name: str) -> None:
    model = tiny_model("llama")
    hp = default_hyperparameters(model, name)
    editor = editor_class(name)
    assert hp.editor == EditSession(model, name).editor == name
    assert hp.projection is editor.projection and hp.previous_keys is bool(editor.previous_keys)
    assert len(hp.layers) == 1 or not editor.preset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"editor": "nope"}, 'editor "nope" does not exist; give one of alphaedit, memit'),
        ({"editor": "rome", "previous_keys": True}, "previous_keys means nothing for the editor"),
        ({"editor": "rome", "previous_keys": False}, "rome writes into one layer, not [0, 1]"),
        (
            {"editor": "rome", "previous_keys": False, "layers": [1], "layer_lambda_factors": [2]},
            "layer_lambda_factors mean nothing for the editor rome, which has no lambda",
        ),
        (
            {"editor": "ft", "previous_keys": False},
            "ft writes into one layer, not [0, 1]; give one",
        ),
    ],
)
def test_invalid_combination_is_refused(place: Path, change: dict[str, Any], message: str) -> None:
    settings = {"layers": (0, 1), **change}
    known = settings["editor"] in ALL
    hp = make_config(**settings) if known else small(place).replace(**change)
    for make in (
        lambda: EditSession(tiny_model("llama"), hyperparameters=hp),
        lambda: setattr(EditSession(tiny_model("llama")), "hyperparameters", hp),
    ):
        with pytest.raises(InputError) as refused:
            make()
        assert message in str(refused.value)


def test_configuration_of_other_editor_is_refused(place: Path) -> None:
    hp = small(place).replace(editor="memit")
    with pytest.raises(InputError, match="memit takes a MemitConfig, not a AlphaEditConfig"):
        EditSession(tiny_model("llama"), hyperparameters=hp)


def test_an_editor_that_contradicts_the_hyperparameters_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match='editor "memit" is not the editor of the hyperparameters'):
        EditSession(tiny_model("llama"), "memit", small(place))


def test_duplicate_name_is_refused() -> None:
    class Other(editor_class("memit")):  # type: ignore[misc]
        name = "memit"

    with pytest.raises(InputError, match="exists already"):
        register(Other)

    class Nameless(editor_class("memit")):  # type: ignore[misc]
        name = None

    with pytest.raises(InputError, match="has no name"):
        register(Nameless)


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a module importable and register it as an editor's entry point."""

    def install(code: str) -> None:
        (tmp_path / "plugged.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("plugged", None)
        point = EntryPoint("plugged", "plugged:Plugged", "alphaedit.editors")
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [point] * (group == "alphaedit.editors")
        )
        monkeypatch.setattr(editors_module._REGISTRY, "_classes", {})
        monkeypatch.setattr(editors_module._REGISTRY, "_is_scanned", False)

    return install


def test_editor_from_entry_point_is_registered(plug_in: Callable[[str], None]) -> None:
    plug_in(
        "from alphaedit_core.editing.editors.memit import Memit\n"
        "class Plugged(Memit):\n    name = 'plugged'\n"
    )
    assert list(editors()) == [*ALL, "plugged"]
    assert editor_class("plugged").about == editor_class("memit").about


def test_entry_point_must_be_an_editor(plug_in: Callable[[str], None]) -> None:
    plug_in("Plugged = dict\n")
    with pytest.raises(InputError, match="plugged:Plugged is not a Editor"):
        editors()
