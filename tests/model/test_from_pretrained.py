"""EditableModel.from_pretrained: devices, dtypes, and models of the hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tiny import tiny_model

from alphaedit_core import EditableModel, load_model
from alphaedit_core.errors import InputError, StructureError
from alphaedit_core.model.load_checks import check_placement
from alphaedit_core.progress import Monitor

quiet = Monitor(show=None)
SECRET = "hf_a-token-of-the-test"


def load(name: str | Path, **options: Any) -> EditableModel:
    return EditableModel.from_pretrained(name, monitor=quiet, **options)


def test_it_returns_the_same_model_as_load_model(saved: Path) -> None:
    model = load(saved, device="cpu")
    assert model.fingerprint == load_model(saved, device="cpu", monitor=quiet).fingerprint
    assert model.name == str(saved)


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, torch.device("cpu")])
@pytest.mark.parametrize("dtype", [None, "bfloat16", torch.bfloat16])
def test_device_map_and_dtype(saved: Path, device_map: Any, dtype: Any) -> None:
    model = load(saved, device_map=device_map, dtype=dtype)
    assert model.device.type == "cpu"
    assert model.dtype == (torch.float32 if dtype is None else torch.bfloat16)


@pytest.mark.parametrize("device_map", ["gpu", {"model": "cpu", "lm_head": "cuda:77"}])
def test_a_device_map_of_unknown_devices_is_refused(saved: Path, device_map: Any) -> None:
    with pytest.raises(InputError, match="is not on this machine; give auto or one of cpu"):
        load(saved, device_map=device_map)


def test_device_and_device_map_exclude_each_other(saved: Path) -> None:
    with pytest.raises(InputError, match='device "cpu" and device_map are both given'):
        load(saved, device="cpu", device_map="auto")


def test_offloaded_weights_are_refused_with_a_remedy(saved: Path, tmp_path: Path) -> None:
    parts = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"]
    device_map = dict.fromkeys([*parts, "model.layers.0", "model.layers.2"], "cpu")
    with pytest.raises(StructureError, match=r'offloaded \(model\.layers\.1.*device="cpu"'):
        load(saved, device_map=device_map | {"model.layers.1": "disk"})


def test_a_model_on_several_devices_is_refused_with_a_remedy() -> None:
    def weight(device: str) -> Any:
        return SimpleNamespace(is_meta=False, device=torch.device(device))

    model: Any = SimpleNamespace(
        named_parameters=lambda: [("a", weight("cuda:0")), ("b", weight("cuda:1"))]
    )
    with pytest.raises(StructureError, match=r'spread over cuda:0, cuda:1;.*device="cuda:0"'):
        check_placement(model, "wide")


# ---------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A fake hub with two revisions of ``somebody/tiny``, both already downloaded.

    ``asked`` collects the calls of :meth:`HfApi.model_info`, which raises ``error`` if set.
    """
    place = tmp_path / "hub" / "models--somebody--tiny"
    (place / "refs").mkdir(parents=True)
    for seed, revision in enumerate(("main", "v2")):
        commit = str(seed) * 40
        (place / "refs" / revision).write_text(commit)
        made = tiny_model("llama", seed=seed)
        made.model.save_pretrained(place / "snapshots" / commit)
        made.tokenizer.save_pretrained(place / "snapshots" / commit)
    state = SimpleNamespace(asked=[], error=None, gated=False, files=["model.safetensors"])

    def model_info(_self: object, repo_id: str, **options: Any) -> SimpleNamespace:
        state.asked.append((repo_id, options["revision"], options["token"]))
        if isinstance(state.error, Exception) and not isinstance(state.error, GatedRepoError):
            raise state.error
        siblings = [SimpleNamespace(rfilename=file) for file in state.files]
        return SimpleNamespace(gated=state.gated, siblings=siblings)

    def auth_check(_self: object, _repo_id: str, **_: Any) -> None:
        if state.error is not None:
            raise state.error

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", auth_check)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return state


def refusal(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    response: Any = SimpleNamespace(headers={}, request=None, status_code=403)
    return kind("no", response=response)


def test_a_revision_and_a_token(hub: SimpleNamespace, tmp_path: Path) -> None:
    first = load("somebody/tiny", token=SECRET)
    second = load("somebody/tiny", revision="v2", token=SECRET)
    assert (first.name, second.name) == ("somebody/tiny", "somebody/tiny@v2")
    assert first.fingerprint == tiny_model("llama").fingerprint
    assert second.fingerprint == tiny_model("llama", seed=1).fingerprint
    assert hub.asked == [("somebody/tiny", None, SECRET), ("somebody/tiny", "v2", SECRET)]
    again = load_model(second.name, network=False, monitor=quiet)
    assert again.fingerprint == second.fingerprint
    second.model.save_pretrained(tmp_path / "out")
    second.tokenizer.save_pretrained(tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in repr(vars(second.tokenizer)) + repr(second.model.config)


def test_a_revision_that_does_not_fit(hub: SimpleNamespace, saved: Path) -> None:
    with pytest.raises(InputError, match=r'"v2" is given, but model .* is not a hub id'):
        load(saved, revision="v2")
    with pytest.raises(InputError, match='"v1" is not that of model "somebody/tiny@v2"'):
        load("somebody/tiny@v2", revision="v1")
    hub.error = refusal(RevisionNotFoundError)
    with pytest.raises(InputError, match='has no revision "v3"; give a branch, tag or commit'):
        load("somebody/tiny", revision="v3")
    assert [revision for _, revision, _ in hub.asked] == ["v3"]


def test_an_earlier_download_is_used_without_asking(hub: SimpleNamespace) -> None:
    assert load("somebody/tiny", local_files_only=True).layers == 3
    with pytest.raises(InputError, match=r'"somebody/tiny@v9" is not .*local_files_only=False'):
        load("somebody/tiny@v9", local_files_only=True)
    assert hub.asked == []


def test_an_earlier_download_is_used_without_a_network(hub: SimpleNamespace) -> None:
    hub.error = OSError("no network here")
    assert load("somebody/tiny").layers == 3
    with pytest.raises(InputError, match=r"cannot be reached \(no network here\); connect to"):
        load("somebody/other")


def test_a_gated_model(hub: SimpleNamespace, tmp_path: Path) -> None:
    hub.gated, hub.error = True, refusal(GatedRepoError)
    assert load("somebody/tiny").layers == 3  # downloaded when there was access
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(InputError, match=r"is gated .*accept its terms at .*/somebody/tiny, then"):
        load("somebody/tiny")


def test_an_unknown_or_private_model(hub: SimpleNamespace) -> None:
    hub.error = refusal(RepositoryNotFoundError)
    with pytest.raises(InputError, match=r"does not exist or is private; give .*hf auth login"):
        load("somebody/secret")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["config.json", "pytorch_model.bin"], "weights in pytorch_model.bin only.*convert them"),
        (["adapter_config.json", "adapter_model.bin"], "is an adapter .*merge_and_unload"),
    ],
)
def test_weights_that_are_not_read(hub: SimpleNamespace, files: list[str], message: str) -> None:
    hub.files = files
    with pytest.raises(InputError, match=message):
        load("somebody/tiny")
