"""Files of a session.

A folder holds ``session.json`` and, for every edit, one JSON file (facts and results) and one
safetensors file (updates and keys). Files of edits are named by their content and never rewritten.
They are written first; ``session.json``, which lists them with their checksums, is replaced last
and atomically. If the process is killed, the folder holds either the old session or the new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.storage.files import (
    check_name,
    read_json,
    sha256_of_file,
    write_atomic,
    write_json_atomic,
)
from alphaedit_core.storage.folder_lock import LOCK, folder_lock
from alphaedit_core.storage.json_text import to_json
from alphaedit_core.storage.temporary import final_name

from .edits import Edit, StoredBatch
from .migrations import UNKNOWN, with_superseded
from .schema import EditRecord, checked_manifest, inside, stored_entry

if TYPE_CHECKING:  # a session is listed without torch
    from torch import Tensor

    from alphaedit_core.editing.weight_updates import WeightUpdate

FORMAT = "alphaedit session 3"
_MANIFEST = "session.json"
_OURS = re.compile(r"session\.json|entry-[0-9a-f]{16}\.(json|safetensors)|\.lock")


class WriteCache:
    """Remembers which session and which verified edits a writer last saw in each folder.

    The session shows whether another process has written to the folder since. Verified edits are
    not read again: otherwise the n-th save would read n edits, and a long sequence of small edits
    would spend more time on reading than on editing. An edit stays verified while its two files
    keep inode, time and size. Loading always verifies every byte.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Edit, tuple[Path, dict[str, str], object]] = (
            WeakKeyDictionary()
        )
        self._manifests: dict[Path, str] = {}

    def note_manifest(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Remember the content of a folder's ``session.json``, without its checksum."""
        self._manifests[folder.resolve()] = _checksum(manifest)

    def require_current(self, folder: Path) -> None:
        """Check that saving would not overwrite the work of another process.

        Raises:
            SessionError: if the folder holds another session than the remembered one, or a session
                with edits and none is remembered.
        """
        if not is_session(folder):
            return
        stored, remembered = load_manifest(folder), self._manifests.get(folder.resolve())
        edits = f"{len(stored['entries'])} edit{'' if len(stored['entries']) == 1 else 's'}"
        if remembered is None and stored["entries"]:
            raise SessionError(
                f"session {folder}: holds another session with {edits}, which would be lost; load "
                "that one, or give a new folder"
            )
        if remembered is not None and remembered != _checksum(stored):
            raise SessionError(
                f"session {folder}: was written by somebody else since this session was loaded or "
                f"saved there (it has {edits} now, {stored['applied']} applied); load it anew, or "
                "save to a new folder"
            )

    def note(self, folder: Path, entry: Edit, file_names: dict[str, str]) -> None:
        """Remember that a folder holds a verified edit.

        Args:
            folder: folder of the session.
            entry: the edit.
            file_names: names of the edit's files, as in ``session.json``.
        """
        self._known[entry] = folder.resolve(), file_names, _stamps(folder, file_names)

    def names(self, folder: Path, entry: Edit) -> dict[str, str] | None:
        """Return the names of an edit's files if they have not changed since :meth:`note`."""
        known_folder, file_names, stamps = self._known.get(entry, (None, {}, None))
        if (
            known_folder != folder.resolve()
            or stamps is None
            or stamps != _stamps(folder, file_names)
        ):
            return None
        return file_names


def _stamps(folder: Path, file_names: dict[str, str]) -> object:
    """Inode, time and size of an edit's two files; None if one is missing."""
    try:
        stats = [(folder / file_names[part]).stat() for part in ("record", "tensors")]
    except OSError:
        return None
    return [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]


def check_place(folder: Path) -> None:
    """Check that a session can be saved to a folder.

    Raises:
        InputError: if the path is a file, or the folder holds something other than a session.
    """
    check_name("session", folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"session {folder}: is a file; give a new folder")
    if is_session(folder):
        try:
            load_manifest(folder)
        except CorruptFileError as error:
            raise InputError(
                f"session {folder}: holds a session that cannot be read ({error}); give a new "
                "folder"
            ) from error
    elif folder.is_dir():
        foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path))
        if foreign:
            raise InputError(
                f'session {folder}: exists and is not a session (holds "{foreign[0]}"); give a new '
                "folder"
            )


def _is_ours(path: Path) -> bool:
    return bool(_OURS.fullmatch(path.name)) or final_name(path) is not None


def locked(folder: Path) -> AbstractContextManager[None]:
    """Lock the existing folder of a session against other writers; see :func:`.folder_lock`."""
    return folder_lock(folder, f"session {folder}")


def is_session(folder: Path) -> bool:
    """Return whether a folder holds a saved session."""
    return (folder / _MANIFEST).is_file()


def save_session(
    folder: Path,
    manifest: dict[str, Any],
    entries: Sequence[Edit],
    applied: int,
    stored: WriteCache | None = None,
    overwrite: bool = False,
) -> None:
    """Write a session; edits that the folder holds already are not written again.

    Args:
        folder: folder of the session; created if it does not exist.
        manifest: JSON-serializable description from :meth:`.EditSession.manifest`.
        entries: all edits, including undone ones.
        applied: number of applied edits.
        stored: cache of what the folder holds, updated; None for an empty one.
        overwrite: whether another session in the folder may be lost.

    Raises:
        InputError: if the folder holds something else.
        SessionError: if it holds a session that the cache does not know, or another process is
            writing to it.
        OSError: if a file cannot be written; an existing session is unchanged.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = stored or WriteCache()
    with locked(folder):
        if not overwrite:
            stored.require_current(folder)
        file_names = [
            stored.names(folder, entry) or _write_entry(folder, entry, stored) for entry in entries
        ]
        content = manifest | {"format": FORMAT, "entries": file_names, "applied": applied}
        _write_manifest(folder, content)
        stored.note_manifest(folder, load_manifest(folder))
        kept = {name for entry in file_names for name in (entry["record"], entry["tensors"])}
        for path in folder.iterdir():
            if path.name not in kept | {_MANIFEST, LOCK} and _is_ours(path) and path.is_file():
                path.unlink(missing_ok=True)


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read ``session.json`` of a folder and verify its checksum.

    Raises:
        InputError: if the folder holds no session.
        CorruptFileError: if the file is damaged.
    """
    if not is_session(folder):
        raise InputError(f"session {folder}: holds no saved session; give a folder that has one")
    manifest = read_json(folder / _MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptFileError(f"{folder / _MANIFEST}: not a session of this version; save it anew")
    if manifest.pop("checksum", None) != _checksum(manifest):
        raise CorruptFileError(f"{folder / _MANIFEST}: damaged; restore a copy")
    checked_manifest(folder / _MANIFEST, manifest)
    return manifest


def set_applied(folder: Path, number: int) -> None:
    """Set the number of applied edits of a saved session, to take effect on the next load.

    A caller whose number depends on the content of the folder must hold :func:`locked` meanwhile.

    Args:
        folder: folder of the session.
        number: number of applied edits.

    Raises:
        InputError: if the folder holds no session.
        CorruptFileError: if ``session.json`` is damaged.
        SessionError: if the session has fewer edits.
        OSError: if the file cannot be written; the session is unchanged.
    """
    load_manifest(folder)  # fails before the lock creates the folder
    with locked(folder):
        manifest = load_manifest(folder)
        edits = len(manifest["entries"])
        if not 0 <= number <= edits:
            raise SessionError(f"session {folder}: there is no state {number}; give 0 to {edits}")
        _write_manifest(folder, manifest | {"applied": number})


def _write_manifest(folder: Path, content: dict[str, Any]) -> None:
    write_json_atomic(folder / _MANIFEST, content | {"checksum": _checksum(content)})


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON value, independent of layout and key order."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_session(
    folder: Path, stored: WriteCache | None = None, tensors: bool = True
) -> tuple[dict[str, Any], list[Edit]]:
    """Load manifest and edits of a session that another process may be writing.

    Args:
        folder: folder of the session.
        stored: cache to update; None for none.
        tensors: whether to read and check updates and keys as well. Without them the edits have
            none, and only JSON files are read.

    Raises:
        InputError: if the folder holds no session.
        CorruptFileError: if a file is missing, damaged or does not match the manifest.
    """
    while True:
        manifest = load_manifest(folder)
        try:
            if tensors:
                return manifest, load_entries(folder, manifest, stored)
            entries = [
                _edit(_read_record(folder, file_names)) for file_names in manifest["entries"]
            ]
            return manifest, _checked_entries(folder, manifest, entries)
        except (CorruptFileError, FileNotFoundError):
            if load_manifest(folder) == manifest:  # else another process replaced the files
                raise


def load_entries(
    folder: Path, manifest: dict[str, Any], stored: WriteCache | None = None
) -> list[Edit]:
    """Read all edits of a session and verify the checksum of every file.

    Args:
        folder: folder of the session.
        manifest: content of ``session.json`` from :func:`load_manifest`.
        stored: cache to update; None for none.

    Raises:
        CorruptFileError: if a file is missing, damaged or does not match the manifest.
    """
    entries = _checked_entries(
        folder, manifest, [_read_entry(folder, file_names) for file_names in manifest["entries"]]
    )
    if stored is not None:
        stored.note_manifest(folder, manifest)
        for entry, file_names in zip(entries, manifest["entries"], strict=True):
            stored.note(folder, entry, file_names)
    return entries


def _checked_entries(folder: Path, manifest: dict[str, Any], unmigrated: list[Edit]) -> list[Edit]:
    """Return the edits with :func:`.with_superseded` applied, if they fit the manifest."""
    layers = manifest["hyperparameters"]["layers"]
    for entry, names in zip(unmigrated, manifest["entries"], strict=True):
        if list(entry.hyperparameters.layers) != layers:
            raise CorruptFileError(
                f"{folder / names['record']}: edits the layers {list(entry.hyperparameters.layers)}"
                f", and the session {layers}; restore a copy"
            )
    try:
        return with_superseded(unmigrated)
    except CorruptFileError as error:
        raise CorruptFileError(f"session {folder}: {error}") from None


def _write_entry(folder: Path, entry: Edit, stored: WriteCache) -> dict[str, str]:
    from alphaedit_core.editing.weight_updates import kind_of
    from alphaedit_core.storage.tensor_files import save_tensors

    tensors = _tensors(entry)
    record = {
        "created": entry.created,
        "digest": entry.digest,
        "title": entry.title,
        "hyperparameters": entry.hyperparameters.to_dict(),
        "result": entry.result.to_dict(),
        "batches": [
            {
                "facts": [fact.to_dict() for fact in batch.facts],
                "plan": batch.plan,
                "superseded": list(batch.superseded),
                "changes": {str(n): kind_of(change) for n, change in batch.changes.items()},
            }
            for batch in entry.batches
        ],
        "tensors": _described(tensors),
        "sketches": {str(layer): sketch for layer, sketch in entry.sketches.items()},
    }
    text = to_json(record, sort_keys=True, indent=1) + "\n"
    checksum = sha256(text.encode()).hexdigest()
    name = f"entry-{checksum[:16]}"
    file_names = {"record": f"{name}.json", "sha256": checksum, "tensors": f"{name}.safetensors"}
    try:
        _read_entry(folder, file_names)
    except (CorruptFileError, OSError):  # usually missing
        save_tensors(folder / file_names["tensors"], tensors, {"format": FORMAT})
        write_atomic(folder / file_names["record"], text)
    stored.note(folder, entry, file_names)
    return file_names


def _tensors(entry: Edit) -> dict[str, Tensor]:
    from alphaedit_core.editing.weight_updates import tensors_of

    file_names: dict[str, Tensor] = {}
    for number, batch in enumerate(entry.batches):
        for layer, change in batch.changes.items():
            parts = tensors_of(change) | {"keys": batch.keys[layer]}
            file_names |= {f"{number}.{layer}.{name}": tensor for name, tensor in parts.items()}
    return file_names


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return dtype, shape and digest of each tensor, by name."""
    from alphaedit_core.storage.tensor_files import tensor_digest

    return {
        name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)} {tensor_digest(t)}"
        for name, t in tensors.items()
    }


def _read_record(folder: Path, file_names: dict[str, str]) -> EditRecord:
    file = inside(folder, file_names["record"])
    try:
        intact = sha256_of_file(file) == file_names["sha256"]
    except FileNotFoundError:
        intact = False
    if not intact:
        raise CorruptFileError(f"{file}: missing or damaged; restore a copy")
    return stored_entry(file, read_json(file))


def _read_entry(folder: Path, file_names: dict[str, str]) -> Edit:
    from alphaedit_core.storage.tensor_files import load_tensors

    from .tensor_checks import stored_tensors

    file = inside(folder, file_names["tensors"])
    record = _read_record(folder, file_names)
    try:
        tensors, _ = load_tensors(file)
    except FileNotFoundError:
        raise CorruptFileError(f"{file}: missing; restore a copy") from None
    if _described(tensors) != record.tensors:
        raise CorruptFileError(f"{file}: damaged, or of another edit; restore a copy")
    return _edit(record, stored_tensors(file, record, tensors))


def _edit(
    record: EditRecord,
    tensors: Sequence[tuple[dict[int, WeightUpdate], dict[int, Tensor]]] | None = None,
) -> Edit:
    """Return the edit of a record, with the updates and keys of each batch or with none."""
    batches = [
        StoredBatch(
            facts=batch.facts,
            changes=changes,
            keys=keys,
            plan=batch.plan,
            superseded=UNKNOWN if batch.superseded is None else tuple(batch.superseded),
        )
        for batch, (changes, keys) in zip(
            record.batches, tensors or [({}, {})] * len(record.batches), strict=True
        )
    ]
    return Edit(
        created=record.created,
        batches=batches,
        result=record.result,
        digest=record.digest,
        hyperparameters=record.hyperparameters,
        title=record.title,
        sketches={int(layer): sketch for layer, sketch in record.sketches.items()},
    )
