"""Whether a model is the one that a saved session belongs to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphaedit_core.data.facts import shown
from alphaedit_core.errors import (
    FingerprintError,
    InputError,
)
from alphaedit_core.model.identity import Identity, describe, identity
from alphaedit_core.model.loading import EditableModel, load_model
from alphaedit_core.progress import Monitor

log = logging.getLogger(__name__)


def _named_model(
    place: Path,
    manifest: Mapping[str, Any],
    device: str,
    monitor: Monitor | None,
    network: bool,
) -> EditableModel:
    """The model that a saved session names."""
    name = manifest["model"]
    try:
        return load_model(name, device, manifest["dtype"], monitor=monitor, network=network)
    except InputError as error:
        if Path(name).is_absolute() and not Path(name).exists():
            raise InputError(
                f'session {place}: its model "{name}" is not there any more; name the place where '
                "it is now: --model, or EditSession.load(folder, model)"
            ) from error
        raise InputError(f"session {place}: {error}") from None


#: Parts of a model that may differ where an edit still means the same.
_MAY_DIFFER = ("fields", "serialization", "precision", "attention")


def _check_fingerprint(
    place: Path, manifest: Mapping[str, Any], model: EditableModel, fingerprint: str
) -> None:
    if fingerprint != manifest["fingerprint"]:
        raise FingerprintError(
            f"session {place}: belongs to {shown(manifest['model'])} with weights "
            f'{shown(manifest["fingerprint"])}, but "{model.name}" has "{fingerprint}"; load '
            "the model that the session was made with"
        )


def _compare(place: Path, manifest: Mapping[str, Any], model: EditableModel) -> None:
    """Refuse a model in which the edits of a session would be other ones; weights aside.

    Sessions of earlier versions do not say what else their model was.
    """
    if "identity" not in manifest:
        return
    parts = manifest["identity"]
    was = Identity.from_dict(parts if isinstance(parts, dict) else {}, f"session {place}")
    differences = was.differences(identity(model))
    grave = {part: what for part, what in differences.items() if part not in _MAY_DIFFER}
    if grave:
        raise FingerprintError(
            f'session {place}: belongs to "{manifest["model"]}" with the same weights, but '
            f'"{model.name}" differs: {describe(grave)}; load the model that the session was made '
            "with"
        )
    if differences:
        log.warning("session %s: its model was not quite this: %s", place, describe(differences))
