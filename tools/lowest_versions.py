"""Edit one fact with the lowest versions that pyproject.toml allows.

Creates an environment in which every direct dependency has the version of its lower bound and pip
resolves the rest. Then edits a fact in a tiny model there and prints the versions. Run it with the
lowest Python that the project supports. On Linux, the lowest torch needs several gigabytes of CUDA
libraries; ``--installed torch`` uses the version of the current environment instead.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
_REQUIREMENT = re.compile(r"([\w-]+)>=([\w.]+)")
_EDIT = """
import sys
from importlib import metadata
from pathlib import Path

sys.path[:0] = sys.argv[1:3]
from examples import CONTEXTS, quiet, small
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core import EditSession, Fact

def tiny():
    tokenizer = tiny_tokenizer(bos=True)
    model = tiny_model("llama", tokenizer)
    # A random model often ends its texts at once.
    tokenizer.eos_token = model.model.generation_config.eos_token_id = None
    return model

place = Path(sys.argv[3])
hp = small(place, layers=(1, 2), clamp_norm_factor=5.0, ridge=0.1, target_steps=25)
session = EditSession(tiny(), hyperparameters=hp, contexts=CONTEXTS[:1])
before = session.weights_digest()
result = session.edit([Fact("Newton", "The old mechanics of {}", "Rome", "Japan")], monitor=quiet())
print(result)
assert result.written == 1
assert "<img" in session.spectra()[1]._repr_html_()  # drawn
after = session.weights_digest()
session.save(place / "session")
session.undo()
assert session.weights_digest() == before != after
session.close()
again = EditSession.load(place / "session", tiny(), monitor=quiet())
assert again.weights_digest() == after
for name in sys.argv[4:]:
    print(f"{name}=={metadata.version(name)}")
"""


def lowest_versions(project: Path, installed: Collection[str] = ()) -> dict[str, str]:
    """Return the lowest version of every direct dependency, by name.

    Args:
        project: path of a pyproject.toml.
        installed: names of dependencies to use in the version of the current environment instead.

    Raises:
        ValueError: if a dependency has no lower bound, or a name is not a dependency.
    """
    lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    versions = {}
    for line in lines:
        bound = _REQUIREMENT.match(line)
        if bound is None:
            raise ValueError(f'"{line}" has no lower bound')
        versions[bound[1]] = bound[2]
    if unknown := sorted(set(installed) - versions.keys()):
        raise ValueError(f"{', '.join(unknown)}: not among {', '.join(versions)}")
    return versions | {name: metadata.version(name) for name in installed}


def _edit_with(versions: dict[str, str], home: Path) -> int:
    """Create the environment, edit a fact in it, and return the exit code."""
    venv.create(home / "venv", symlinks=True, clear=True)
    python = str(home / "venv" / "bin" / "python")
    pins = [f"{name}=={version}" for name, version in versions.items()]
    install = ["install", "--quiet", "--no-cache-dir", "--only-binary=:all:", *pins]
    pip = [sys.executable, "-m", "pip", "--python", python, *install]
    done = subprocess.run(pip, check=False)
    if done.returncode == 0:
        (home / "edit").mkdir(exist_ok=True)
        folders = [ROOT, ROOT / "tests" / "helpers", home / "edit"]
        done = subprocess.run([python, "-c", _EDIT, *folders, *versions], cwd=home, check=False)
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 if the fact was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--installed", metavar="NAME", action="append", default=[],
        help="use the installed version of this package; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--into",
        metavar="FOLDER",
        type=Path,
        help="create the environment here and keep it (temporary)",
    )
    options = parser.parse_args(arguments)
    try:
        pinned = lowest_versions(ROOT / "pyproject.toml", options.installed)
    except ValueError as error:
        parser.error(str(error))
    if options.into is not None:
        options.into.mkdir(parents=True, exist_ok=True)
        return _edit_with(pinned, options.into.resolve())
    with TemporaryDirectory() as folder:
        return _edit_with(pinned, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
