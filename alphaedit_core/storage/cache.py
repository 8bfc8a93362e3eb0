"""Where fetched and computed files are kept: one folder for everything, safe to delete."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "ALPHAEDIT_CACHE"


def cache_dir() -> Path:
    """The cache folder: the environment's ``ALPHAEDIT_CACHE``, else the platform's usual place.

    Read at every call, so that a change of the environment takes effect. The folder is not made.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("alphaedit", appauthor=False)


def models_dir() -> Path:
    """Packaged models and their converted forms. Made if absent, as by every function below."""
    return _subfolder("models")


def texts_dir() -> Path:
    """Packaged running text and its cleaned form."""
    return _subfolder("texts")


def datasets_dir() -> Path:
    """Published data sets and their checksums."""
    return _subfolder("datasets")


def statistics_dir() -> Path:
    """Second moments of keys and their checkpoints."""
    return _subfolder("statistics")


def spectra_dir() -> Path:
    """Eigenvalues and eigenvectors."""
    return _subfolder("spectra")


def contexts_dir() -> Path:
    """Generated context prefixes."""
    return _subfolder("contexts")


def temporary_dir() -> Path:
    """Downloads under way. On the same disk as the rest, so that a move out of it is atomic."""
    return _subfolder("temporary")


def _subfolder(name: str) -> Path:
    folder = cache_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
