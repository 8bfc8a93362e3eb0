"""One-line summary of a configuration."""

from __future__ import annotations

from alphaedit_core.editing.config import EditConfig

from .registry import editor_class


def settings_words(hp: EditConfig) -> str:
    """Return layers, thresholds and the editor's lambda (if any) as ``layers 4–8 · ...``."""
    layers = f"{hp.layers[0]}–{hp.layers[-1]}" if len(hp.layers) > 1 else str(hp.layers[0])
    words = [
        f"layer{'s' if len(hp.layers) > 1 else ''} {layers}",
        f"threshold {hp.threshold_words}",
    ]
    if weight := editor_class(hp.editor).weight:
        label = "weight on C" if weight == "covariance_weight" else weight
        words.append(f"{label} {getattr(hp, weight):g}")
        if hp.layer_lambda_factors:
            factors = ", ".join(f"{factor:g}" for factor in hp.layer_lambda_factors)
            words.append(f"by layer times {factors}")
    if hp.previous_keys and hp.previous_keys_decay < 1:
        words.append(f"previous keys decay {hp.previous_keys_decay:g}")
    return " · ".join(words)
