"""The panels without the packages that draw them."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["anywidget", "ipywidgets", "plotly", "traitlets"])
def test_the_extra_that_brings_them_is_named(package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; import alphaedit_widgets.state"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == (
        f"ImportError: alphaedit_widgets needs {package}; "
        'install it: pip install "alphaedit-workbench[widgets]"'
    )
