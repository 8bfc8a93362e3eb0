"""Exceptions of this library.

All of them derive from :class:`AlphaEditError`. Each message is one line that names the field or
file, the value and the remedy.
"""

from __future__ import annotations


class AlphaEditError(Exception):
    """Base class of all errors that this library raises."""


class InputError(AlphaEditError):
    """Invalid input; raised before any work starts."""


class StructureError(AlphaEditError):
    """Model whose blocks, down-projections, norm or head cannot be found or run as expected."""


class FetchError(AlphaEditError):
    """File that cannot be downloaded, or whose content is not the expected one."""


class CorruptFileError(AlphaEditError):
    """Damaged file, whose checksum or layout does not match its record."""


class FingerprintError(AlphaEditError):
    """Session or statistics file that belongs to other weights than the model's."""


class SessionError(AlphaEditError):
    """Operation that the session's current state does not allow, such as undo with no edit."""


class DivergedError(SessionError):
    """Edit with non-finite numbers; the model was not changed."""


class Canceled(AlphaEditError):
    """Work that the user canceled; everything that it had changed is restored."""
