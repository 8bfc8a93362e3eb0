"""The one line that a run of the command is refused with."""

from __future__ import annotations

from commands import Ran, Workplace, listing


def refused(place: Workplace, *arguments: object) -> str:
    """The one line that a run is refused with; it wrote nothing and printed nothing."""
    before = listing(place.folder.parent)
    ran = place.run(*arguments)
    assert listing(place.folder.parent) == before
    return the_line(ran)


def the_line(ran: Ran) -> str:
    """The one line of a run that was refused, without the command's name."""
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("alphaedit: ")
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err.removeprefix("alphaedit: ").rstrip("\n")
