"""Checks that a model is the one that a saved session belongs to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphaedit_core.editing.layer_write import SKETCH_LENGTH
from alphaedit_core.editing.update_sketches import apart
from alphaedit_core.errors import CorruptFileError, FingerprintError, InputError
from alphaedit_core.messages import shown
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, describe, identity
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor

log = logging.getLogger(__name__)

#: Largest distance from the saved weights that rounding explains: as a share of the norm of the
#: change, and as a share of the norm of the weight, to which the change is added in float32.
_ROUNDING, _WEIGHT_ROUNDING = 1e-3, 1e-6


def _named_model(
    folder: Path,
    manifest: Mapping[str, Any],
    device: str,
    monitor: Monitor | None,
    network: bool,
) -> EditableModel:
    """Return the model that a saved session names."""
    name = manifest["model"]
    try:
        return load_model(name, device, manifest["dtype"], monitor=monitor, network=network)
    except InputError as error:
        if Path(name).is_absolute() and not Path(name).exists():
            raise InputError(
                f'session {folder}: its model "{name}" no longer exists; give its current path '
                "with --model, or EditSession.load(folder, model)"
            ) from error
        raise InputError(f"session {folder}: {error}") from None


#: Parts of a model's identity that may differ without changing the meaning of an edit.
_MAY_DIFFER = ("fields", "serialization", "precision", "attention")


def _check_fingerprint(
    folder: Path, manifest: Mapping[str, Any], model: EditableModel, fingerprint: str
) -> None:
    if fingerprint != manifest["fingerprint"]:
        raise FingerprintError(
            f"session {folder}: belongs to {shown(manifest['model'])} with weights "
            f'{shown(manifest["fingerprint"])}, but "{model.name}" has "{fingerprint}"; load '
            "the model that the session was made with"
        )


def _compare(folder: Path, manifest: Mapping[str, Any], model: EditableModel) -> None:
    """Check everything but the weights that changes the meaning of a session's edits.

    Sessions of earlier versions do not store the identity of their model.
    """
    if "identity" not in manifest:
        return
    parts = manifest["identity"]
    stored = Identity.from_dict(parts if isinstance(parts, dict) else {}, f"session {folder}")
    differences = stored.differences(identity(model))
    relevant = {part: text for part, text in differences.items() if part not in _MAY_DIFFER}
    if relevant:
        raise FingerprintError(
            f'session {folder}: belongs to "{manifest["model"]}" with the same weights, but '
            f'"{model.name}" differs: {describe(relevant)}; load the model that the session was '
            "made with"
        )
    if differences:
        log.warning("session %s: its model differs slightly: %s", folder, describe(differences))


def check_distance(
    folder: Path,
    *,
    saved: Mapping[int, Sequence[float]],
    here: Mapping[int, Sequence[float]],
    norms: Mapping[int, float],
    made_with: Mapping[str, Any],
    made_here: Mapping[str, Any],
) -> None:
    """Warn about the distance between restored and saved weights; rounding must explain it.

    Args:
        folder: folder of the session.
        saved: sketch of each layer's change when it was saved; empty in earlier versions.
        here: sketch of each layer's change in the restored weights.
        norms: Frobenius norm of each layer's original weight.
        made_with: versions and machine that saved the session.
        made_here: versions and machine of this process.

    Raises:
        CorruptFileError: if the distance of a layer exceeds rounding.
    """
    relative = {}
    for layer, sketch in saved.items():
        change = max(apart(either, [0.0] * SKETCH_LENGTH) for either in (sketch, here[layer]))
        distance = apart(sketch, here[layer])
        relative[layer] = distance / change if change else 0.0
        if distance > _ROUNDING * change + _WEIGHT_ROUNDING * norms[layer]:
            raise CorruptFileError(
                f"session {folder}: the weights made from its changes are not those that were "
                f"saved, layer {layer} is about {min(relative[layer], 10):.0%} of its change away; "
                "one of its files was changed, restore a copy"
            )
    size = (
        f"they are at most about {max(relative.values()):.1g} of their change away"
        if relative
        else "the version that saved them did not store enough to tell the distance"
    )
    log.warning(
        "the weights are not bit for bit those saved: %s (made with %s, here %s)",
        size,
        made_with,
        made_here,
    )
