"""Sessions made by others: checksums right, they load to a valid session or are refused."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.cli import main
from alphaedit_core.editing.update_sketches import apart, sketch
from alphaedit_core.errors import AlphaEditError, CorruptFileError, InputError
from alphaedit_core.model import loading as models
from alphaedit_core.session import files as session_files
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.tensor_files import load_tensors, save_tensors

#: What is put in the place of something else.
JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 2, 7, 1e300, -0.5, math.nan, math.inf, 10**30, 10**400, "", "x", "0",
    "../x", "\n", "NaN", [], [1], ["x"], [[]], [None], {}, {"a": 1}, {"0": "dense"}, [{}],
)  # fmt: skip
#: An editor for each kind of change.
EDITORS = ("alphaedit", "rect", "prune", "ft-l")

Parts = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, torch.Tensor]]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A session with two edits of three batches for each kind of change."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        for editor in EDITORS:
            layers = (1,) if editor.startswith("ft") else (0, 1)
            settings = small(
                folder,
                editor=editor,
                target_steps=2,
                layers=layers,
                previous_keys=editor == "alphaedit",
            )
            session = EditSession(
                tiny_model("llama"), hyperparameters=settings, contexts=CONTEXTS[:1]
            )
            session.edit(FACTS[:2], batch_size=1, monitor=quiet())
            session.edit(FACTS[2:3], monitor=quiet())
            session.save(folder / editor)
            session.close()
        yield {editor: folder / editor for editor in EDITORS}


def parts_of(folder: Path) -> Parts:
    """What a session's files hold."""
    manifest = json.loads((folder / "session.json").read_text("utf-8"))
    del manifest["checksum"]
    records = [json.loads((folder / one["record"]).read_text()) for one in manifest["entries"]]
    tensors = [load_tensors(folder / one["tensors"])[0] for one in manifest["entries"]]
    return manifest, records, tensors


def written(folder: Path, parts: Parts) -> Path:
    """Write them as this library would have, with every checksum that can be made without it."""
    manifest, records, tensors = parts
    folder.mkdir()
    for number, (record, own) in enumerate(zip(records, tensors, strict=True)):
        name = f"entry-{number:016x}"
        save_tensors(folder / f"{name}.safetensors", own, {})
        if isinstance(record, dict) and isinstance(record.get("tensors"), dict):
            record["tensors"] = session_files._described(own)
        text = json.dumps(record).encode()
        (folder / f"{name}.json").write_bytes(text)
        entries = manifest.get("entries")
        named = entries[number] if isinstance(entries, list) and number < len(entries) else None
        if not isinstance(named, dict):
            continue
        for part, suffix in (("record", "json"), ("tensors", "safetensors")):
            if str(named.get(part)).startswith("entry-"):
                named[part] = f"{name}.{suffix}"
        if len(str(named.get("sha256"))) == 64:
            named["sha256"] = hashlib.sha256(text).hexdigest()
    content = manifest | {"checksum": session_files._checksum(manifest)}
    (folder / "session.json").write_text(json.dumps(content))
    return folder


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but the whole."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for name, one in inner:
        yield (*at, name)
        if isinstance(one, dict | list):
            yield from places(one, (*at, name))


def mutate(parts: Parts, draw: random.Random) -> str:
    """Change one thing, and say what."""
    manifest, records, tensors = parts
    if draw.random() < 0.3:
        own = draw.choice(tensors)
        name = draw.choice(sorted(own))
        return f"{name}: {draw.choice(TENSORS)(own, name)}"
    whole: Any = draw.choice([manifest, *records, records[0]["batches"], records[1]])
    # Long lists of numbers would take most of the draws.
    by_name: dict[Any, list[tuple[Any, ...]]] = {}
    for place in places(whole):
        by_name.setdefault(tuple(n for n in place if isinstance(n, str))[-2:], []).append(place)
    place = draw.choice(by_name[draw.choice(sorted(by_name, key=str))])
    holder = whole
    for name in place[:-1]:
        holder = holder[name]
    action = draw.choice(["junk", "junk", "junk", "delete", "add"])
    if action == "delete":
        del holder[place[-1]]
    elif action == "add" and isinstance(holder, dict):
        holder["another"] = draw.choice(JUNK)
    else:
        holder[place[-1]] = draw.choice(JUNK)
    return f"{place}: {action}"


def _times(factor: float) -> Callable[[dict[str, torch.Tensor], str], str]:
    def change(own: dict[str, torch.Tensor], name: str) -> str:
        own[name] = (own[name].double() * factor).to(own[name].dtype)
        return f"times {factor}"

    return change


def _with_nan(own: dict[str, torch.Tensor], name: str) -> str:
    if own[name].is_floating_point():
        own[name].view(-1)[0] = math.nan
    return "NaN"


def _cut(own: dict[str, torch.Tensor], name: str) -> str:
    own[name] = own[name][:-1].clone() if own[name].dim() else own[name].view(1)
    return "cut"


def _turned(own: dict[str, torch.Tensor], name: str) -> str:
    own[name] = own[name].T.contiguous() if own[name].dim() == 2 else own[name].flip(-1)
    return "turned"


def _other_dtype(own: dict[str, torch.Tensor], name: str) -> str:
    own[name] = own[name].to(torch.float16 if not own[name].is_floating_point() else torch.int32)
    return "other dtype"


def _coarse(own: dict[str, torch.Tensor], name: str) -> str:
    if not own[name].is_floating_point():
        return _gone(own, name)
    own[name] = own[name].to(torch.float8_e4m3fn)
    return "float8"


def _widened(own: dict[str, torch.Tensor], name: str) -> str:
    if not own[name].is_floating_point():
        return _gone(own, name)
    own[name] = own[name].to(torch.bfloat16)
    return "bfloat16"


def _gone(own: dict[str, torch.Tensor], name: str) -> str:
    del own[name]
    return "gone"


def _renamed(own: dict[str, torch.Tensor], name: str) -> str:
    own[name.replace(".0.", ".5.").replace(".keys", ".key")] = own.pop(name)
    return "renamed"


def _empty(own: dict[str, torch.Tensor], name: str) -> str:
    own[name] = own[name].reshape(-1)[:0].clone()
    return "empty"


TENSORS = (
    _times(1000), _times(0), _times(-1), _with_nan, _cut, _turned, _other_dtype, _gone, _renamed,
    _empty, _coarse, _widened,
)  # fmt: skip


def use(session: EditSession, shown: bool) -> None:
    """Everything that is done with a session that was loaded."""
    assert repr(session.history) and session.history._repr_html_()
    for entry in session.history:
        assert repr(entry.result)
        assert not shown or entry.result._repr_html_()
    applied = session.applied
    for number in range(len(session.history) + 1):
        session.restore(number)
        assert all(math.isfinite(moved) for moved in session.relative_weight_change().values())
    session.restore(applied)


@pytest.mark.parametrize("editor", EDITORS)
def test_a_mutated_folder_loads_to_a_valid_session_or_is_refused_in_one_line(
    saved: dict[str, Path], tmp_path: Path, editor: str
) -> None:
    model, whole = tiny_model("llama"), parts_of(saved[editor])
    draw, outcomes = random.Random(editor), {"loaded": 0, "refused": 0}
    for number in range(40):
        parts = copy.deepcopy(whole)
        what = mutate(parts, draw)
        folder = written(tmp_path / str(number), parts)
        try:
            session = EditSession.load(folder, model)
        except AlphaEditError as error:
            outcomes["refused"] += 1
            assert str(folder) in str(error) and "\n" not in str(error), what
            assert model.owner is None, what
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        else:
            outcomes["loaded"] += 1
            use(session, shown=outcomes["loaded"] <= 2)  # pictures take a moment
            session.close()
        shutil.rmtree(folder)
    assert outcomes["refused"] > 15 and outcomes["loaded"] > 2


def changed(
    saved: dict[str, Path],
    folder: Path,
    change: Callable[[Parts], object],
    editor: str = EDITORS[0],
) -> Path:
    parts = parts_of(saved[editor])
    change(parts)
    return written(folder, parts)


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("change", [_with_nan, _times(1000), _times(-1), _turned])
def test_tensors_that_were_changed_are_no_rounding(
    saved: dict[str, Path],
    tmp_path: Path,
    editor: str,
    change: Callable[[dict[str, torch.Tensor], str], str],
) -> None:
    """Each tensor that is a number of the weights or a key, with all checksums right."""
    names = [n for n in parts_of(saved[editor])[2][1] if not n.endswith(("shape", "index"))]
    for number, name in enumerate(names):
        if change is _turned and not name.endswith(("matrix", "left", "right")):
            continue
        if name.endswith("keys") and change not in (_with_nan, TENSORS[0]):
            continue  # the weights do not hang on them
        if editor == "prune" and name.endswith("largest") and change is not _with_nan:
            continue

        def one(parts: Parts, name: str = name) -> None:
            change(parts[2][1], name)

        folder = changed(saved, tmp_path / str(number), one, editor)
        with pytest.raises(CorruptFileError) as refusal:
            EditSession.load(folder, tiny_model("llama"))
        assert str(folder) in str(refusal.value)
        assert "last bits" not in str(refusal.value)


def test_a_change_of_the_same_length_in_another_direction_is_refused_by_how_far_it_is(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    def rolled(parts: Parts) -> None:
        name = next(n for n in parts[2][1] if n.endswith("1.left"))
        parts[2][1][name] = parts[2][1][name].roll(1, 0)

    folder = changed(saved, tmp_path / "kept", rolled)
    with pytest.raises(CorruptFileError, match=r"layer 1 .*\d% of its change away"):
        EditSession.load(folder, tiny_model("llama"))


def test_what_rounding_leaves_is_loaded_and_said_how_far_it_is(
    saved: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def rounded(parts: Parts) -> None:
        name = next(n for n in parts[2][1] if n.endswith("1.left"))
        tensor = parts[2][1][name]
        parts[2][1][name] = tensor * (1 + 1e-6 * torch.randn(tensor.shape))

    folder = changed(saved, tmp_path / "kept", rounded)
    with caplog.at_level(logging.WARNING):
        session = EditSession.load(folder, tiny_model("llama"))
    [output] = [r.getMessage() for r in caplog.records if "bit for bit" in r.getMessage()]
    share = float(output.split("at most about ")[1].split(" ")[0])
    assert 1e-8 < share < 1e-4
    assert session.applied == 2


def test_a_session_of_a_version_without_sketches_says_that_it_cannot_tell(
    saved: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def older(parts: Parts) -> None:
        for record in parts[1]:
            del record["sketches"]
        parts[1][1]["digest"] = "0" * 32

    folder = changed(saved, tmp_path / "kept", older)
    with caplog.at_level(logging.WARNING):
        assert EditSession.load(folder, tiny_model("llama")).applied == 2
    assert "did not store enough to tell the distance" in caplog.text


def test_a_sketch_estimates_the_distance() -> None:
    torch.manual_seed(0)
    weight, ratios = torch.randn(300, 2000, dtype=torch.float64), []
    for _ in range(20):
        one, other = torch.randn(2, 300, 2000, dtype=torch.float64)
        near = apart(sketch(weight + one, weight), sketch(weight + other, weight))
        ratios.append(near / float((one - other).norm()))
    mean = sum(ratio**2 for ratio in ratios) / len(ratios)
    assert 0.7 < mean < 1.3
    assert all(0.3 < ratio < 2 for ratio in ratios)
    # By its definition, entry by entry.
    from alphaedit_core.editing.update_sketches import _signs

    left, right = _signs(300, "left").double(), _signs(2000, "right").double()
    assert set(left.unique().tolist()) == {-1.0, 1.0}
    plain = [float(left[:, n] @ one @ right[:, n]) for n in range(8)]
    assert sketch(weight + one, weight) == pytest.approx(plain, rel=1e-9, abs=1e-6)


# -- names that lead outside -----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["record", "tensors"])
@pytest.mark.parametrize(
    "name", ["../entry-0.json", "/etc/passwd", "a/b.json", "..", "C:x", "a\\b", "notes.json", ""]
)
def test_names_that_lead_outside_are_refused_by_that_reason(
    saved: dict[str, Path], tmp_path: Path, part: str, name: str
) -> None:
    def lead(parts: Parts) -> None:
        parts[0]["entries"][0][part] = name

    folder = changed(saved, tmp_path / "kept", lead)
    words = "is not the name of" if name in ("notes.json", "") else "leads outside the folder"
    with pytest.raises(CorruptFileError, match=rf"session\.json: entries\[0\]\.{part} .*{words}"):
        EditSession.load(folder, tiny_model("llama"))


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_that_leads_outside_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    for pattern in ("entry-*.json", "entry-*.safetensors"):
        folder = tmp_path / pattern.rpartition(".")[2]
        shutil.copytree(saved[EDITORS[0]], folder)
        file = sorted(folder.glob(pattern))[0]
        shutil.move(file, tmp_path / file.name)
        file.symlink_to(tmp_path / file.name)
        with pytest.raises(CorruptFileError, match="a link that leads outside the folder"):
            EditSession.load(folder, tiny_model("llama"))


# -- a model on the hub ----------------------------------------------------------------------------


def test_a_session_reaches_the_hub_only_if_it_may(
    saved: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def named(parts: Parts) -> None:
        parts[0]["model"] = "somebody/a-model"

    folder = changed(saved, tmp_path / "kept", named)
    asked: list[str] = []

    def info(_self: object, name: str, **_: object) -> None:
        asked.append(name)
        raise OSError("no network here")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError) as refusal:
        EditSession.load(folder)
    assert not asked
    assert str(folder) in str(refusal.value) and '"somebody/a-model"' in str(refusal.value)
    assert "--model somebody/a-model" in str(refusal.value)
    assert main(["complete", "--session", str(folder), "A text"]) == 2
    output = capsys.readouterr().err
    assert "--model somebody/a-model" in output and output.count("\n") == 1
    assert not asked
    with pytest.raises(InputError, match="hub cannot be reached"):
        EditSession.load(folder, fetch_model=True)
    assert main(["complete", "--session", str(folder), "--model", "somebody/a-model", "A"]) == 2
    assert asked == ["somebody/a-model"] * 2
    with pytest.raises(InputError, match="not on this machine"):
        models.load_model("somebody/a-model", network=False)
    assert len(asked) == 2
