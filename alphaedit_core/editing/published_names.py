"""Hyperparameter names of the released files, of EasyEdit and of version 0.1.

The released code of AlphaEdit and MEMIT keeps them as JSON, EasyEdit (Wang et al. 2024) as YAML,
under one set of names. Beside numbers such a file says where the model's parts are, and what is
found here by the model's structure; those entries are passed over. What would mean another method
than ours is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphaedit_core.errors import InputError

#: Of the released files, by what the field is called here.
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
#: Of version 0.1.
_FORMER = {
    "steps": "target_steps",
    "learning_rate": "target_learning_rate",
    "clamp_factor": "clamp_norm_factor",
    "kept_share": "rect_fraction",
    "step_size": "ft_learning_rate",
    "emmet_weight": "emmet_lambda",
    "origin": "source",
}
#: Editors by the ``alg_name`` of EasyEdit.
_ALGORITHMS = {
    "AlphaEdit": "alphaedit", "MEMIT": "memit", "PMET": "pmet", "EMMET": "emmet", "ROME": "rome",
    "R-ROME": "r-rome", "FT": "ft-l",
}  # fmt: skip
#: What is found by the model's structure here, or is said otherwise.
_PASSED_OVER = {
    "model_name", "model_class", "tokenizer_class", "tokenizer_name", "model_parallel", "device",
    "stats_dir", "P_loc", "batch_size", "max_length", "fp16", "bf16", "v_loss_layer",
    "rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp", "ln_f_module",
    "lm_head_module", "mom2_dataset", "mom2_n_samples", "mom2_dtype", "mom2_adjustment",
    "context_template_length_params", "objective_optimization", "alg_name",
}  # fmt: skip
#: What has one meaning here, and is refused with any other.
_ONE_MEANING = {"fact_token": "subject_last", "layer_selection": "all"}


def present_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by their present names, whoever wrote them; unknown ones stay as they are.

    Raises:
        InputError: if two names of one field are given, or an entry means another method.
    """
    found: dict[str, Any] = {}
    called: dict[str, str] = {}
    if (algorithm := fields.get("alg_name")) is not None:
        if algorithm not in _ALGORITHMS:
            raise InputError(
                f'alg_name "{algorithm}" is no editor here; take it out and give --editor, one of '
                f"{', '.join(sorted(_ALGORITHMS.values()))}"
            )
        found["editor"], called["editor"] = _ALGORITHMS[algorithm], "alg_name"
    for name, value in fields.items():
        if name in _ONE_MEANING:
            if value != _ONE_MEANING[name]:
                raise InputError(
                    f'{name} "{value}" is not what this library does, which is '
                    f'"{_ONE_MEANING[name]}"; leave it out if that is meant'
                )
            continue
        if name in _PASSED_OVER:
            continue
        own = _FORMER.get(name) or _PUBLISHED.get(name) or name
        if own in called and found[own] != value:
            raise InputError(f'"{called[own]}" and "{name}" are both given; remove one of them')
        found[own], called[own] = value, name
    return found


def passed_over(fields: Mapping[str, Any]) -> list[str]:
    """Entries of a file that are found otherwise here, to be told of."""
    return [name for name in fields if name in _PASSED_OVER and name != "alg_name"]
