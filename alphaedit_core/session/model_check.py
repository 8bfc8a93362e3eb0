"""Whether a model is the one that a saved session belongs to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphaedit_core.editing.layer_write import SKETCH_LENGTH
from alphaedit_core.editing.update_sketches import apart
from alphaedit_core.errors import (
    CorruptFileError,
    FingerprintError,
    InputError,
)
from alphaedit_core.messages import shown
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, describe, identity
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor

log = logging.getLogger(__name__)

#: Furthest that rounding may bring weights from those saved: as a share of the change of a weight,
#: and as a share of the weight, to which the change is added in float32.
_ROUNDING, _WEIGHT_ROUNDING = 1e-3, 1e-6


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


def check_distance(
    place: Path,
    *,
    saved: Mapping[int, Sequence[float]],
    here: Mapping[int, Sequence[float]],
    norms: Mapping[int, float],
    made_with: Mapping[str, Any],
    made_here: Mapping[str, Any],
) -> None:
    """Say how far the weights are from those saved; refuse what no rounding explains.

    Args:
        place: the folder of the session.
        saved: the sketch of each layer's change when it was saved; empty in earlier versions.
        here: the same of the weights as they are made here.
        norms: the norm of each layer's original weight.
        made_with: versions and machine that made the session.
        made_here: those of this process.

    Raises:
        CorruptFileError: if a layer is further away than rounding brings it.
    """
    far = {}
    for layer, sketch in saved.items():
        change = max(apart(each, [0.0] * SKETCH_LENGTH) for each in (sketch, here[layer]))
        away = apart(sketch, here[layer])
        far[layer] = away / change if change else 0.0
        if away > _ROUNDING * change + _WEIGHT_ROUNDING * norms[layer]:
            raise CorruptFileError(
                f"session {place}: the weights made from its changes are not those that were "
                f"saved, layer {layer} is about {min(far[layer], 10):.0%} of its change away; "
                "a file of it was changed, take a copy"
            )
    words = (
        f"they are at most about {max(far.values()):.1g} of their change away"
        if far
        else "how far they are from them was not kept by the version that saved them"
    )
    log.warning(
        "the weights are not bit for bit those saved: %s (made with %s, here %s)",
        words,
        made_with,
        made_here,
    )
