"""What can go wrong, as exceptions that say what to do about it.

Everything that this library raises on purpose derives from :class:`AlphaEditError`. Its text is one
line that names the thing, the value and the remedy, ready to be shown to a person as it stands.
"""

from __future__ import annotations


class AlphaEditError(Exception):
    """Base of every error raised on purpose by this library."""


class InputError(AlphaEditError):
    """Input that cannot be used. Raised before any work starts; nothing has been changed."""


class StructureError(AlphaEditError):
    """A model whose blocks, down-projections, norm or head could not be found."""


class FetchError(AlphaEditError):
    """A file that should be fetched is not to be had, or is not the file that was expected."""


class CorruptFileError(AlphaEditError):
    """A file that is damaged: its checksum or its layout is not what its record says."""


class FingerprintError(AlphaEditError):
    """A session or a statistics file that belongs to other weights than the ones given."""


class SessionError(AlphaEditError):
    """A request that the session's present state does not allow, such as undo with no edit."""


class DivergedError(SessionError):
    """An edit whose numbers left the finite ones; the model was not written to."""


class Canceled(AlphaEditError):
    """The work was canceled by its user. Whatever it was changing is as it was before."""
