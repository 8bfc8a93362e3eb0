"""Edited models for use elsewhere: a Hugging Face directory that loads without this project."""

from __future__ import annotations

from alphaedit_core.session.saved_model import check_folder, facts_in_model, model

__all__ = ["check_folder", "facts_in_model", "model"]
