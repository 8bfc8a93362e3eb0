"""The edited model as a transformers folder: on disk, or as a repository of the hub."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core._version import __version__
from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.display.escaping import markdown, markdown_code, python_text
from alphaedit_core.errors import AlphaEditError, CorruptFileError, InputError, SessionError
from alphaedit_core.model.model_sources import quiet_transformers
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.files import (
    atomic_folder,
    check_name,
    portable_name,
    read_json,
    write_atomic,
    write_json_atomic,
)
from alphaedit_core.storage.tensor_files import give_usual_mode

from .states import SessionStates

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from alphaedit_core.data.facts import Fact
    from alphaedit_core.editing.config import EditConfig

FORMAT = "alphaedit model 1"
MARKER = "alphaedit.json"
"""File in a saved model that lists the edits and the files; it marks the folder as ours."""

_CARD = "README.md"
#: Files on the hub that a new version replaces even if it has no file of the same name.
_STALE = ["*.safetensors", "*.safetensors.index.json"]


class SavesModel(SessionStates):
    """A session that writes its edited model as a transformers folder."""

    @property
    def hyperparameters(self) -> EditConfig:
        """The numbers that the next edit uses."""
        raise NotImplementedError

    @property
    def methods(self) -> str:
        """Methods of the applied edits."""
        raise NotImplementedError

    def save_pretrained(
        self, directory: str | Path, *, overwrite: bool = False, monitor: Monitor | None = None
    ) -> None:
        """Write the edited model with its tokenizer as a transformers folder, all at once.

        The weights are safetensors in the dtype of the session; the tokenizer comes with its chat
        template, and generation settings are kept. ``AutoModelForCausalLM.from_pretrained`` loads
        the folder without this library. ``alphaedit.json`` lists the edits, and ``README.md`` is a
        model card.

        Args:
            directory: a new or empty folder.
            overwrite: whether an earlier export may be replaced as a whole. A folder that holds any
                other file is refused in any case.
            monitor: receives progress.

        Raises:
            SessionError: if the session is closed, or weights were changed by hand.
            InputError: if the directory holds something that would be lost.
            OSError: if the folder cannot be written; an earlier one is then unchanged.
        """
        target = Path(directory).resolve()
        with self.model.exclusive():  # nobody edits what is being written
            self._check_current()
            _check_free(directory, overwrite)
            _write(self, target, target.name, monitor or Monitor(), overwrite)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        overwrite: bool = False,
        monitor: Monitor | None = None,
    ) -> str:
        """Write the edited model to a repository of the hub, in one commit.

        The repository is created if it does not exist. Its files are those of
        :meth:`save_pretrained`; they are written to a temporary folder first.

        Args:
            repo_id: ``"user/name"``.
            private: whether a new repository is private; None for the account's default.
            token: access token, as transformers takes it: None for the stored login. It is
                neither logged nor stored.
            revision: branch to commit to; None for the main branch.
            commit_message: None for one that counts the facts.
            overwrite: whether a repository that has files may be committed to; its weights are then
                replaced as a whole.
            monitor: receives progress.

        Returns:
            The address of the commit.

        Raises:
            SessionError: if the session is closed, or weights were changed by hand.
            InputError: if the hub refuses the repository, or it has files and ``overwrite`` is
                False; nothing was uploaded.
        """
        from huggingface_hub import HfApi

        monitor = monitor or Monitor()
        api = HfApi()
        with self.model.exclusive():
            self._check_current()
        with _hub_refusals(repo_id, token):
            _open_repository(api, repo_id, private, token, revision, overwrite)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            with self.model.exclusive():
                self._check_current()
                _write(self, folder, repo_id, monitor, overwrite=False)
                count = len(facts_in_model(self))
            message = f"Edit {count} fact{'' if count == 1 else 's'} with AlphaEdit"
            with monitor.stage("uploading the model", 1), _hub_refusals(repo_id, token):
                commit = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    token=token,
                    revision=revision,
                    commit_message=commit_message or message,
                    delete_patterns=_STALE if overwrite else None,
                )
                monitor.advance()
        return str(commit.commit_url)

    def _check_current(self) -> None:
        """Check that the model has the edits of this session and no others."""
        if self.model.owner is not self:
            raise SessionError("this session is closed; load or make a new one")
        self.check_weights()


def facts_in_model(session: SessionStates) -> list[Fact]:
    """Return the facts of all applied edits that no later fact has superseded."""
    applied = session.history[: session.history.applied]
    return CurrentFacts(batch for entry in applied for batch in entry.batches).facts


def check_folder(folder: str | Path) -> None:
    """Refuse a place where writing a model would lose something.

    A new place, an empty folder and an unchanged earlier export are accepted: an export is replaced
    as a whole.

    Raises:
        InputError: if something else is there, or the name is longer than file systems take.
    """
    target = Path(folder)
    check_name("output folder", target)
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"output folder {folder}: is a file; give a new folder")
    foreign = sorted({path.name for path in target.iterdir()} - _written_names(target))
    if foreign:
        raise InputError(
            f"output folder {folder}: exists and holds "
            f'"{foreign[0]}", which no export wrote; give a new folder'
        )


def _check_free(folder: str | Path, overwrite: bool) -> None:
    """Refuse a folder that :func:`check_folder` refuses, and an earlier export if not asked for."""
    check_folder(folder)
    target = Path(folder)
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise InputError(
            f"output folder {folder}: holds an earlier export; give a new folder, or overwrite=True"
        )


def _written_names(folder: Path) -> set[str]:
    """Names of the files that an export wrote here; none if there was no export."""
    try:
        record = read_json(folder / MARKER)
        return set(record["files"]) if record["format"] == FORMAT else set()
    except (OSError, CorruptFileError, KeyError, TypeError):
        return set()


def _write(session: SavesModel, target: Path, name: str, monitor: Monitor, overwrite: bool) -> None:
    """Write the model to a folder; ``name`` is what its card loads it by."""
    with (
        monitor.stage("saving the model", 1),
        quiet_transformers(),
        atomic_folder(target) as new,
    ):
        session.model.model.save_pretrained(new)
        give_usual_mode(*new.glob("*.safetensors"))
        session.model.tokenizer.save_pretrained(new)
        monitor.advance()
        record = _record(session)
        write_atomic(new / _CARD, _card(record, name, facts_in_model(session)))
        record["files"] = sorted([path.name for path in new.iterdir()] + [MARKER])
        write_json_atomic(new / MARKER, record)
        # Saving takes minutes, in which somebody may have put something there.
        _check_free(target, overwrite)


def _record(session: SavesModel) -> dict[str, Any]:
    applied = session.history[: session.applied]
    last = applied[-1].hyperparameters if applied else session.hyperparameters
    hyperparameters = last.to_dict()
    hyperparameters["text"] = portable_name(hyperparameters["text"])
    return {
        "format": FORMAT,
        "alphaedit": __version__,
        "model": portable_name(session.model.name),
        "fingerprint": session.model.fingerprint,
        "dtype": str(session.model.dtype).removeprefix("torch."),
        "method": session.methods,
        "hyperparameters": hyperparameters,
        "weights_digest": session.weights_digest(),
        "facts": [fact.to_dict() for fact in facts_in_model(session)],
    }


def _card(record: dict[str, Any], name: str, facts: list[Fact]) -> str:
    """Return a model card: what was edited, how, and how to load the result."""
    rows = "".join(f"| {markdown(fact.text)} | {markdown(fact.target)} |\n" for fact in facts)
    source = python_text(name)
    layers = ", ".join(map(str, record["hyperparameters"]["layers"]))
    count = f"{len(facts)} fact{'' if len(facts) == 1 else 's'}"
    return (
        f"# {markdown(name)}\n\n"
        f"{markdown_code(record['model'])} (weights `{record['fingerprint']}`) with {count} edited "
        f"in by {markdown(record['method'])}, AlphaEdit workbench {record['alphaedit']}. "
        f"Changed are the MLP down-projections of blocks {layers}; `{MARKER}` holds facts and "
        "hyperparameters in full. "
        "The license is that of the original model.\n\n"
        "| prompt | now says |\n|---|---|\n"
        f"{rows}\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({source})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({source})\n"
        "```\n"
    )


def _open_repository(
    api: HfApi,
    repo_id: str,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    overwrite: bool,
) -> None:
    """Create the repository and branch if needed; refuse one that has files if not asked for."""
    api.create_repo(repo_id, private=private, exist_ok=True, token=token)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True, token=token)
    files = set(api.list_repo_files(repo_id, revision=revision, token=token)) - {".gitattributes"}
    if files and not overwrite:
        raise InputError(
            f'repository "{repo_id}": has files already, such as "{min(files)}"; give a new '
            "repository, or overwrite=True for a new commit"
        )


@contextlib.contextmanager
def _hub_refusals(repo_id: str, token: str | bool | None) -> Iterator[None]:
    """Turn errors of the hub client into one line without the token."""
    try:
        yield
    except AlphaEditError:
        raise
    except Exception as error:  # of the hub, of the connection, of the name
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(token, str) and token:
            reason = reason.replace(token, "***")
        raise InputError(
            f'repository "{repo_id}": could not be written ({reason[:200]}); check the name, log '
            'in with "hf auth login" or give token=, with write access'
        ) from None
