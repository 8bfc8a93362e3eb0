"""Eigen-decomposition of each layer's second moment, from the cache or computed."""

from __future__ import annotations

import logging

import numpy as np
import torch

from alphaedit_core.covariance.files import KeyStatistics
from alphaedit_core.errors import CorruptFileError, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.tensor_files import load_tensors

from .files import save_spectrum, spectrum_file
from .spectrum import Spectrum

log = logging.getLogger(__name__)


def eigendecompose(
    statistics: KeyStatistics, cache: bool = True, monitor: Monitor | None = None
) -> dict[int, Spectrum]:
    """Return the spectrum of every layer of the statistics.

    Args:
        statistics: as returned by :func:`~.collect.collect_statistics`.
        cache: False to compute all of them again.
        monitor: receives progress.

    Raises:
        SessionError: if the statistics of a layer are not finite.
        OSError: if a file of eigenvectors cannot be written.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    with monitor.stage("null space", len(statistics.layers), "layer"):
        result = {}
        for layer in statistics.layers:
            result[layer] = eigendecompose_layer(statistics, layer, cache)
            monitor.advance()
    return result


def eigendecompose_layer(statistics: KeyStatistics, layer: int, cache: bool = True) -> Spectrum:
    """Return the spectrum of one layer's second moment, from the cache or computed.

    The d_in x d_in eigenvectors stay in a file. A projector reads only those that it needs, and
    checks them again. A file that is damaged or belongs to other statistics is replaced.

    Args:
        statistics: as returned by :func:`~.collect.collect_statistics`.
        layer: one of their layers.
        cache: False to compute the spectrum even if the cache has it.

    Raises:
        SessionError: if the statistics of the layer are not finite.
        OSError: if the file of eigenvectors cannot be written.
    """
    moment = statistics[layer]
    file = spectrum_file(moment.checksum)
    if cache:
        try:
            stored, metadata = load_tensors(file, sealed=True)
            if metadata["moment"] != moment.checksum:
                raise CorruptFileError(f"{file}: belongs to other statistics")
            values = stored["eigenvalues"].numpy()
            if not np.isfinite(values).all():  # earlier versions did not check this
                raise CorruptFileError(f"{file}: the eigenvalues are not finite")
            orthogonality_error = float(metadata["health"])
            return Spectrum(
                layer, values, moment.tokens, file, orthogonality_error, moment.checksum
            )
        except FileNotFoundError:
            pass
        except (CorruptFileError, KeyError, ValueError) as error:
            log.warning("%s; computing it again", error)
    if not bool(moment.moment.isfinite().all()):
        raise SessionError(
            f"layer {layer}: its statistics are not finite; remove them from the cache, and load "
            "the model in bfloat16 or float32"
        )
    # float64, because the eigenvalues of C span ten orders of magnitude.
    values, vectors = torch.linalg.eigh(moment.moment.double())
    values, rows = values.flip(0), vectors.T.flip(0).float()
    orthogonality_error = float((rows @ rows.T - torch.eye(len(rows))).abs().max())
    save_spectrum(
        file, values, rows, {"health": repr(orthogonality_error), "moment": moment.checksum}
    )
    return Spectrum(
        layer, values.numpy(), moment.tokens, file, orthogonality_error, moment.checksum
    )
