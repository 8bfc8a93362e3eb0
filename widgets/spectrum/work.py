"""The work behind the spectrum screen, done in a job: getting spectra, reading the facts' keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alphaedit_core.covariance.collect import cached_checksums
from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.key_projection import KeyProjection, fact_keys, project_keys
from alphaedit_core.errors import AlphaEditError, Canceled
from alphaedit_core.nullspace.files import spectrum_file
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.progress import Monitor
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession

CACHED, COLLECTED = "from cache", "collected now"


@dataclass(frozen=True, eq=False)
class SpectrumData:
    """The data shown by the spectrum explorer.

    Attributes:
        source: where the spectra are from, in words.
        key_projection: shares of the facts' keys; None where none were read.
        spectra: those that the shares are of.
        edit: result of the edit that was applied last when the keys were read, None for none.
    """

    source: str = CACHED
    key_projection: KeyProjection | None = None
    spectra: Mapping[int, Spectrum] | None = None
    edit: EditResult | None = None


def gather(
    session: EditSession,
    facts: Sequence[Fact],
    previous: SpectrumData,
    monitor: Monitor,
    *,
    collect: bool,
) -> SpectrumData:
    """Get the spectra, and then the keys of the facts on the model as it stands.

    Args:
        session: the session.
        facts: the facts.
        previous: what was found out before.
        monitor: what to report to.
        collect: whether statistics may be collected; otherwise only the cache is read.
    """
    if session.cached_spectra is None:
        if not collect and not in_cache(session, monitor):
            return previous
        session.spectra(monitor)
        previous = replace(
            previous, source=COLLECTED if "statistics" in monitor.seconds else CACHED
        )
    spectra = session.cached_spectra
    assert spectra is not None
    if not facts:
        return replace(previous, key_projection=None)
    with session.model.exclusive():
        keys = fact_keys(session.model, facts, session.contexts, sorted(spectra), monitor)
        edit = session.last_result
    return SpectrumData(previous.source, project_keys(facts, keys, spectra, monitor), spectra, edit)


def stale(gathered: SpectrumData, session: EditSession, facts: Sequence[Fact]) -> bool:
    """Whether the keys that were read are not those of these facts on the model as it stands."""
    facts_read = gathered.key_projection.facts if gathered.key_projection is not None else ()
    if tuple(facts) != facts_read:
        return bool(facts)
    unchanged = gathered.spectra is session.cached_spectra and gathered.edit is session.last_result
    return bool(facts) and not unchanged


def in_cache(session: EditSession, monitor: Monitor) -> bool:
    """Return whether the spectra of all edited layers are available without computation."""
    hp = session.hyperparameters
    try:
        checksums = cached_checksums(session.model, hp.text, hp.layers, hp.tokens, monitor=monitor)
    except Canceled:
        raise
    except (AlphaEditError, OSError):  # the text is missing; collecting will report it
        return False
    return checksums is not None and all(
        spectrum_file(name).is_file() for name in checksums.values()
    )
