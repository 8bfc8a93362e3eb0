"""Export of a session as a Python script or a JSON object.

The script is independent of the notebook. It loads the model, repeats all applied edits in order
and in the same batches, and reports after each edit whether the weights equal the recorded ones bit
for bit. They do on the same machine with the same versions and number of threads. Elsewhere the
last bits of sums may differ; the script reports that and continues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from alphaedit_core._version import __version__
from alphaedit_core.data.facts import Fact
from alphaedit_core.display.escaping import python_text
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.session.edits import Edit
from alphaedit_core.session.session import EditSession

SCHEMA = "alphaedit record 1"
"""Name and version of the schema of :func:`to_record`."""

_WIDTH = 100

#: Source text, or a call or list: opening text, parts, closing text.
_Node = str | tuple[str, Sequence["_Node"], str]


def to_python(session: EditSession, facts: Sequence[Fact] | None = None) -> str:
    """Return a Python script that repeats a session's applied edits; computes nothing.

    Args:
        session: the session.
        facts: facts that are not applied yet, written last; None for none.

    Returns:
        A script of printable ASCII characters; texts of facts are Python literals.
    """
    entries = session.history[: session.applied]
    manifest = session.manifest()
    first = entries[0].hyperparameters if entries else session.hyperparameters
    parts = [_head(session, manifest), _loading(manifest), _session(session, manifest, first)]
    if entries:
        parts.append(_CHECK)
    current = first
    for number, entry in enumerate(entries, start=1):
        parts.append(_edit(number, entry, current))
        current = entry.hyperparameters
    if facts:
        changes = _changes(current, session.hyperparameters)
        edit: _Node = ("session.edit(", [_facts(facts)], ")")
        parts.append(f"# Not applied yet.\n{changes}result = {_render(edit)}\nprint(result)")
    return "\n\n".join(parts) + "\n"


def to_record(session: EditSession, facts: Sequence[Fact] | None = None) -> dict[str, Any]:
    """Return a session without its tensors as a JSON-serializable object; computes nothing.

    Args:
        session: the session.
        facts: facts that are not applied yet; None for none.

    Returns:
        ``schema``, the fields of :meth:`~.EditSession.manifest` (model, hyperparameters, versions
        …), ``seeds``, ``applied``, ``edits`` (including undone ones, with facts, batches and
        outcomes), and ``drafts``.
    """
    edits = [
        _edit_record(entry, number <= session.applied)
        for number, entry in enumerate(session.history, start=1)
    ]
    configs = [session.hyperparameters, *(entry.hyperparameters for entry in session.history)]
    return {
        "schema": SCHEMA,
        **session.manifest(),
        "seeds": sorted({hyperparameters.seed for hyperparameters in configs}),
        "applied": session.applied,
        "edits": edits,
        "drafts": [fact.to_dict() for fact in facts or ()],
    }


def _edit_record(entry: Edit, applied: bool) -> dict[str, Any]:
    outcomes = [
        {
            "fact": outcome.fact.to_dict(),
            "written": outcome.written,
            "before": dataclasses.asdict(outcome.before),
            "after": dataclasses.asdict(outcome.after),
        }
        for outcome in entry.result.outcomes
    ]
    return {
        "title": entry.title,
        "created": entry.created,
        "applied": applied,
        "weights_digest": entry.digest,
        "hyperparameters": entry.hyperparameters.to_dict(),
        "batches": [len(batch.facts) for batch in entry.batches],
        "plans": [batch.plan for batch in entry.batches],
        "outcomes": outcomes,
    }


# -- parts of the script ---------------------------------------------------------------------------

_CHECK = '''
def check(recorded: str) -> None:
    """Report whether the weights equal the recorded ones bit for bit."""
    digest = session.weights_digest()
    if digest == recorded:
        print(f"edit {session.applied}: the recorded weights, bit for bit ({digest})")
    else:
        print(f"edit {session.applied}: weights {digest}, recorded were {recorded}; the last bits "
              "differ with the machine, the versions and the number of threads")
'''


def _head(session: EditSession, manifest: dict[str, Any]) -> str:
    made = manifest["made_with"]
    count = session.applied
    environment = ", ".join(
        f"{name} {made[name]}" for name in ("torch", "transformers", "python", "machine", "device")
    )
    lines = [
        f"# Repeats {count} edit{'' if count == 1 else 's'} of {_comment(manifest['model'])}.",
        f"# FactBatch by AlphaEdit workbench {__version__}; recorded with",
        f"# {_comment(environment)}.",
        "",
        "from alphaedit_core import EditSession, Fact, load_model, make_config",
    ]
    if session.model.device.type == "cpu":
        lines[4:4] = ["import torch", ""]
        threads = f"torch.set_num_threads({made['threads']})"
        lines += ["", f"{threads}  # changes the last bits of sums"]
    return "\n".join(lines)


def _loading(manifest: dict[str, Any]) -> str:
    device = manifest["made_with"]["device"]
    loading: _Node = (
        "load_model(",
        [
            python_text(manifest["model"]),
            f"device={python_text(device)}",
            f"dtype={python_text(manifest['dtype'])}",
        ],
        ")",
    )
    return (
        f"model = {_render(loading)}\n"
        f"if model.fingerprint != {python_text(manifest['fingerprint'])}:\n"
        '    print("the model has other weights than the recorded one, so results will differ")'
    )


def _session(session: EditSession, manifest: dict[str, Any], first: EditConfig) -> str:
    arguments: list[_Node] = [
        "model",
        ("hyperparameters=make_config(", _fields(first.to_dict()), ")"),
    ]
    contexts = _contexts(session, manifest)
    comment = "# The contexts are sampled from the model with the seed.\n"
    if contexts is not None:
        comment = ""
        arguments.append(("contexts=[", [python_text(text) for text in contexts], "]"))
    return f"{comment}session = {_render(('EditSession(', arguments, ')'))}"


def _contexts(session: EditSession, manifest: dict[str, Any]) -> list[str] | None:
    """Return the contexts of all edits, if all used the same ones and they are known; else None."""

    def sampling(hyperparameters: EditConfig) -> tuple[int, int, int]:
        return hyperparameters.seed, hyperparameters.context_tokens, hyperparameters.contexts

    used = {sampling(entry.hyperparameters) for entry in session.history[: session.applied]}
    same = used <= {sampling(session.hyperparameters)}
    contexts: list[str] | None = manifest["contexts"]
    return contexts if same else None


def _edit(number: int, entry: Edit, current: EditConfig) -> str:
    title = f": {_comment(entry.title)}" if entry.title else ""
    # Only the last batch of an edit can be smaller.
    size = len(entry.batches[0].facts)
    edit: _Node = ("session.edit(", [_facts(entry.facts), f"batch_size={size}"], ")")
    return (
        f"# Edit {number}{title}\n"
        f"{_changes(current, entry.hyperparameters)}{_render(edit)}\n"
        f"check({python_text(entry.digest)})"
    )


def _changes(current: EditConfig, new: EditConfig) -> str:
    """Return the line that replaces the hyperparameters; "" if they are equal."""
    if new == current:
        return ""
    old_fields, fields = current.to_dict(), new.to_dict()
    call: _Node = ("make_config(", _fields(fields), ")")
    if fields["editor"] == old_fields["editor"]:
        changed = {name: value for name, value in fields.items() if value != old_fields[name]}
        call = ("session.hyperparameters.replace(", _fields(changed), ")")
    return f"session.hyperparameters = {_render(call)}\n"


def _fields(fields: Mapping[str, Any]) -> list[_Node]:
    return [f"{name}={_literal(value)}" for name, value in fields.items()]


def _facts(facts: Sequence[Fact]) -> _Node:
    return ("[", [_fact(fact) for fact in facts], "]")


def _fact(fact: Fact) -> _Node:
    record = fact.to_dict()
    arguments: list[_Node] = [
        python_text(record.pop(name)) for name in ("subject", "prompt", "target")
    ]
    for name, value in record.items():
        if isinstance(value, list):
            arguments.append((f"{name}=[", [python_text(text) for text in value], "]"))
        else:
            arguments.append(f"{name}={python_text(value)}")
    return ("Fact(", arguments, ")")


# -- rendering -------------------------------------------------------------------------------------


def _render(node: _Node, depth: int = 0) -> str:
    """Source of a node: on one line if it fits, else one part per line."""
    flat = _flat(node)
    if isinstance(node, str) or 4 * depth + len(flat) + _MARGIN <= _WIDTH:
        return flat
    head, parts, tail = node
    inner = "    " * (depth + 1)
    lines = "".join(f"{inner}{_render(part, depth + 1)},\n" for part in parts)
    return f"{head}\n{lines}{'    ' * depth}{tail}"


#: Characters reserved on a line around a node, for an assignment and a comma.
_MARGIN = 26


def _flat(node: _Node) -> str:
    if isinstance(node, str):
        return node
    head, parts, tail = node
    return head + ", ".join(_flat(part) for part in parts) + tail


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return python_text(value) if isinstance(value, str) else repr(value)


def _comment(text: str) -> str:
    """Text on one line of a comment, without control and invisible characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
