"""Other names of the hyperparameters: in the released files, in EasyEdit, and in version 0.1.

The released code of AlphaEdit and MEMIT (JSON) and EasyEdit (YAML; Wang et al. 2024) use the same
names. Their files also hold module paths and the like, which this library derives from the model;
those entries are ignored. Entries that would mean another method are rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphaedit_core.errors import InputError

#: Names in the released files and the fields here.
_PUBLISHED = {
    "v_lr": "target_learning_rate",
    "v_num_grad_steps": "target_steps",
    "v_weight_decay": "weight_decay",
    "L2": "ridge",
    "nullspace_threshold": "threshold",
    "mom2_update_weight": "covariance_weight",
    "lr": "ft_learning_rate",
    "num_steps": "target_steps",
    "norm_constraint": "ft_max_change",
}
#: Names in version 0.1 and the fields now.
_FORMER = {
    "steps": "target_steps",
    "learning_rate": "target_learning_rate",
    "clamp_factor": "clamp_norm_factor",
    "kept_share": "rect_fraction",
    "step_size": "ft_learning_rate",
    "emmet_weight": "emmet_lambda",
    "origin": "source",
}
#: Editors by EasyEdit's ``alg_name``.
_ALGORITHMS = {
    "AlphaEdit": "alphaedit", "MEMIT": "memit", "PMET": "pmet", "EMMET": "emmet", "ROME": "rome",
    "R-ROME": "r-rome", "FT": "ft-l",
}  # fmt: skip
#: Ignored entries: derived from the model here, or set in another way.
_IGNORED = {
    "model_name", "model_class", "tokenizer_class", "tokenizer_name", "model_parallel", "device",
    "stats_dir", "P_loc", "batch_size", "max_length", "fp16", "bf16", "v_loss_layer",
    "rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp", "ln_f_module",
    "lm_head_module", "mom2_dataset", "mom2_n_samples", "mom2_dtype", "mom2_adjustment",
    "context_template_length_params", "objective_optimization", "alg_name",
}  # fmt: skip
#: Entries with a single supported value; any other value is rejected.
_ONLY_VALUE = {"fact_token": "subject_last", "layer_selection": "all"}


def present_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields under their present names; unknown names stay unchanged.

    Raises:
        InputError: if two names of one field are given with different values, or an entry means
            another method.
    """
    renamed: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    if (algorithm := fields.get("alg_name")) is not None:
        if algorithm not in _ALGORITHMS:
            raise InputError(
                f'alg_name: "{algorithm}" is not available; remove it and give --editor, one of '
                f"{', '.join(sorted(_ALGORITHMS.values()))}"
            )
        renamed["editor"], given_as["editor"] = _ALGORITHMS[algorithm], "alg_name"
    for name, value in fields.items():
        if name in _ONLY_VALUE:
            if value != _ONLY_VALUE[name]:
                raise InputError(
                    f'{name}: "{value}" is not supported, only "{_ONLY_VALUE[name]}"; remove it to '
                    "use that"
                )
            continue
        if name in _IGNORED:
            continue
        field = _FORMER.get(name) or _PUBLISHED.get(name) or name
        if field in given_as and renamed[field] != value:
            raise InputError(f'"{given_as[field]}" and "{name}" are both given; remove one of them')
        renamed[field], given_as[field] = value, name
    return renamed


def passed_over(fields: Mapping[str, Any]) -> list[str]:
    """Return the entries of a file that are ignored, to report them."""
    return [name for name in fields if name in _IGNORED and name != "alg_name"]
