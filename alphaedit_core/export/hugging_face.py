"""Edited models for use elsewhere: a Hugging Face directory that loads without this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alphaedit_core.session.saved_model import check_folder, facts_in_model

if TYPE_CHECKING:
    from alphaedit_core.progress import Monitor
    from alphaedit_core.session.session import EditSession

__all__ = ["check_folder", "facts_in_model", "model"]


def model(session: EditSession, folder: str | Path, monitor: Monitor | None = None) -> None:
    """Write the edited model to a folder, or replace an earlier export there.

    See :meth:`.SavesModel.save_pretrained`.
    """
    session.save_pretrained(folder, overwrite=True, monitor=monitor)
