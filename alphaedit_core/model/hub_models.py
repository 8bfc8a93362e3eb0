"""Models of the Hugging Face hub: names with a revision, access, and earlier downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphaedit_core.errors import InputError

from .packaged import PACKAGED

#: Time limit for a request to the hub, in seconds.
_HUB_SECONDS = 10.0
#: Accepted names, for messages about a name that does not exist.
NAMES = f"{', '.join(PACKAGED)}, a directory, a GGUF file or a hub id"
_LOGIN = 'log in with "hf auth login" or give token='
#: Weights that only a pickle or another framework could read.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def split_name(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Split ``"id@revision"``; a revision that is given separately must agree.

    Raises:
        InputError: if two revisions differ, or the name is not a hub id and has a revision.
    """
    path = Path(name).expanduser()
    local = name in PACKAGED or path.suffix.lower() == ".gguf" or path.exists()
    if local:
        if revision is not None:
            raise InputError(
                f'revision: "{revision}" is given, but model "{name}" is not a hub id; leave the '
                "revision out"
            )
        return name, None
    hub_id, _, named = name.partition("@")
    if named and revision not in (None, named):
        raise InputError(f'revision: "{revision}" is not that of model "{name}"; give one of them')
    return (hub_id, named) if named else (name, revision)


def full_name(name: str, revision: str | None) -> str:
    """Return the name that finds a model again, with its revision if it has one."""
    return name if revision is None else f"{name}@{revision}"


def downloaded(name: str, revision: str | None = None) -> str:
    """Return the folder of an earlier download, without asking the hub.

    Raises:
        InputError: if there is none.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    shown = full_name(name, revision)
    try:
        return str(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError:
        raise InputError(
            f'model "{shown}" no longer exists; give its current path (--model, or model=)'
        ) from None
    except OSError:
        raise InputError(
            f'model "{shown}" is not on this machine and may not be downloaded; if you trust it, '
            f"allow the download (--model {shown}, fetch_model=True or local_files_only=False)"
        ) from None


def on_the_hub(name: str, revision: str | None = None, token: str | bool | None = None) -> str:
    """Return the hub id if the hub grants access, else the folder of an earlier download.

    The hub is asked once and with a time limit: transformers retries an unreachable hub for most of
    a minute.

    Raises:
        InputError: if the hub has no such model or revision, refuses access or cannot be reached,
            and there is no earlier download; or if the model has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    shown = full_name(name, revision)
    try:
        info = HfApi().model_info(name, revision=revision, timeout=_HUB_SECONDS, token=token)
        if getattr(info, "gated", False):
            HfApi().auth_check(name, token=token)
    except HFValidationError:
        raise InputError(f'model "{shown}" does not exist; give {NAMES}') from None
    except GatedRepoError:
        problem = (
            f'model "{shown}" is gated and access is not granted; accept its terms at '
            f"https://huggingface.co/{name}, then {_LOGIN}"
        )
    except RepositoryNotFoundError:
        raise InputError(
            f'model "{shown}" does not exist or is private; give {NAMES}; for a private model '
            f"{_LOGIN}"
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f'model "{name}" has no revision "{revision}"; give a branch, tag or commit of it'
        ) from None
    except Exception as error:  # no network, a proxy, a hub that is switched off
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        problem = (
            f'model "{shown}" is not on this machine and the hub cannot be reached ({reason}); '
            f"connect to the network, or give {NAMES.removesuffix(' or a hub id')}"
        )
    else:
        siblings: Any = getattr(info, "siblings", None) or ()
        check_safetensors(shown, [sibling.rfilename for sibling in siblings])
        return name
    try:
        return str(snapshot_download(name, revision=revision, local_files_only=True))
    except OSError:
        raise InputError(problem) from None


def check_safetensors(name: str, files: Sequence[str]) -> None:
    """Refuse a checkpoint that has weights, but none in safetensors.

    Args:
        name: the model, for the message.
        files: names of its files.

    Raises:
        InputError: if so; names a file of weights.
    """
    if any(file.endswith(".safetensors") for file in files):
        return
    if any(file == "adapter_config.json" for file in files):
        raise InputError(
            f'model "{name}" is an adapter without a model; merge it with merge_and_unload() of '
            "peft, and give the folder that save_pretrained wrote"
        )
    other = [file for file in files if file.endswith(_OTHER_WEIGHTS)]
    if other:
        raise InputError(
            f'model "{name}" has weights in {other[0]} only, and only safetensors are read; '
            "convert them: load the model with transformers if you trust it, then save_pretrained"
        )
