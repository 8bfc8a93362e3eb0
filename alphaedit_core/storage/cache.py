"""The cache folder of downloaded and computed files, which is safe to delete."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "ALPHAEDIT_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: ``$ALPHAEDIT_CACHE``, or the platform's user cache folder.

    The variable is read at every call. The folder is not created.
    """
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    if folder:
        return Path(folder).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("alphaedit", appauthor=False)


def models_dir() -> Path:
    """Return the folder of packaged and converted models; created if missing, like all below."""
    return _subfolder("models")


def texts_dir() -> Path:
    """Return the folder of packaged running text and its cleaned form."""
    return _subfolder("texts")


def datasets_dir() -> Path:
    """Return the folder of published data sets and their checksums."""
    return _subfolder("datasets")


def statistics_dir() -> Path:
    """Return the folder of key statistics and their checkpoints."""
    return _subfolder("statistics")


def spectra_dir() -> Path:
    """Return the folder of eigenvalues and eigenvectors."""
    return _subfolder("spectra")


def contexts_dir() -> Path:
    """Return the folder of sampled contexts."""
    return _subfolder("contexts")


def temporary_dir() -> Path:
    """Return the folder of running downloads, on the cache's disk so that moves are atomic."""
    return _subfolder("temporary")


def _subfolder(name: str) -> Path:
    folder = cache_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
