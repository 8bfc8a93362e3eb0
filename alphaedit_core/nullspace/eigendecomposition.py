"""The eigen-decomposition of each layer's second moment, from the cache or computed."""

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
    """The spectrum of every layer of the statistics."""
    monitor = monitor or Monitor()
    with monitor.stage("null space", len(statistics.layers), "layer"):
        result = {}
        for layer in statistics.layers:
            result[layer] = eigendecompose_layer(statistics, layer, cache)
            monitor.advance()
    return result


def eigendecompose_layer(statistics: KeyStatistics, layer: int, cache: bool = True) -> Spectrum:
    """Eigenvalues and eigenvectors of one layer's second moment, from the cache or computed.

    The eigenvectors are written to a file in either case and read from it when a projector is made
    (they are d_in^2 numbers, most of which a session never holds), where what is read is checked
    again. A file that is damaged, or belongs to other statistics, is made again.

    Args:
        statistics: as :func:`~.collect.collect_statistics` gives them.
        layer: one of their layers.
        cache: False to compute again even if a good file is there.
    """
    moment = statistics[layer]
    file = spectrum_file(moment.checksum)
    if cache:
        try:
            stored, metadata = load_tensors(file, sealed=True)
            if metadata["moment"] != moment.checksum:
                raise CorruptFileError(f"{file}: belongs to other statistics")
            values = stored["eigenvalues"].numpy()
            if not np.isfinite(values).all():  # which an earlier version did not look at
                raise CorruptFileError(f"{file}: eigenvalues that are no numbers")
            health = float(metadata["health"])
            return Spectrum(layer, values, moment.tokens, file, health, moment.checksum)
        except FileNotFoundError:
            pass
        except (CorruptFileError, KeyError, ValueError) as error:
            log.warning("%s; made again", error)
    if not bool(moment.moment.isfinite().all()):
        raise SessionError(
            f"layer {layer}: its statistics are not finite; remove them from the cache, and load "
            "the model in bfloat16 or float32"
        )
    # eigh, because C is symmetric; in float64 because its eigenvalues span ten orders of magnitude.
    values, vectors = torch.linalg.eigh(moment.moment.double())
    values, rows = values.flip(0), vectors.T.flip(0).float()
    health = float((rows @ rows.T - torch.eye(len(rows))).abs().max())
    save_spectrum(file, values, rows, {"health": repr(health), "moment": moment.checksum})
    return Spectrum(layer, values.numpy(), moment.tokens, file, health, moment.checksum)
