"""What an edit was set to, in one line."""

from __future__ import annotations

from alphaedit_core.editing.config import EditConfig

from .registry import editor_class


def settings_words(hp: EditConfig) -> str:
    """Layers, thresholds, and the number that weighs facts against all else, where there is one."""
    layers = f"{hp.layers[0]}–{hp.layers[-1]}" if len(hp.layers) > 1 else str(hp.layers[0])
    words = [
        f"layer{'s' if len(hp.layers) > 1 else ''} {layers}",
        f"threshold {hp.threshold_words}",
    ]
    if weight := editor_class(hp.editor).weight:
        named = "weight on C" if weight == "covariance_weight" else weight
        words.append(f"{named} {getattr(hp, weight):g}")
        if hp.layer_lambda_factors:
            factors = ", ".join(f"{factor:g}" for factor in hp.layer_lambda_factors)
            words.append(f"by layer times {factors}")
    if hp.previous_keys and hp.previous_keys_decay < 1:
        words.append(f"previous keys decay {hp.previous_keys_decay:g}")
    return " · ".join(words)
