"""The fingerprint of a model's weights."""

from __future__ import annotations

import torch
from tiny import tiny_model

from alphaedit_core.model.fingerprints import fingerprint


def test_the_fingerprint_depends_on_every_weight() -> None:
    model = tiny_model("llama").model
    first = fingerprint(model)
    assert len(first) == 32 and first == fingerprint(tiny_model("llama").model)
    for parameter in model.parameters():
        value = parameter.data.view(-1)[-1].clone()
        parameter.data.view(-1)[-1] += 1e-3
        assert fingerprint(model) != first
        parameter.data.view(-1)[-1] = value
    assert fingerprint(model) == first
    assert fingerprint(tiny_model("llama", seed=1).model) != first


def test_the_fingerprint_depends_on_dtype_and_shape() -> None:
    module = torch.nn.ParameterDict({"a": torch.zeros(2, 3), "scale": torch.tensor(1.0)})
    seen = {fingerprint(module)}
    module["a"] = torch.zeros(3, 2)
    seen.add(fingerprint(module))
    seen.add(fingerprint(module.half()))
    assert len(seen) == 3


def test_the_fingerprint_stays_while_the_model_has_an_owner() -> None:
    model = tiny_model("llama")
    first = model.fingerprint
    model.owner = object()
    model.architecture.matrix(0).zero_()
    assert model.fingerprint == first != fingerprint(model.model)
    model.owner = None
    assert model.fingerprint == fingerprint(model.model) != first
