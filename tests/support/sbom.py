"""`./dev sbom`: what runs, as a CycloneDX bill of materials, written by cyclonedx-py.

It looks at an installation of the wheel with every extra: exactly the packages that the wheel asks
for, in the versions of the lock, with their licences and who asks for whom. Nothing is fetched.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge import __version__
from tests.support.installation import PROGRAM, Installation
from tests.support.wheels import build

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_TIMEOUT_S: Final = 300.0
_NO_VERSION: Final = 'dynamic = ["version"]'


def write_bill(installation: Installation, directory: Path) -> Path:
    """Write the bill of an installation, which loses the bridge: that is the bill's subject."""
    shutil.rmtree(installation.metadata)
    project = (_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert _NO_VERSION in project
    subject = installation.directory / "pyproject.toml"
    # The tool reads no version that the build backend finds out.
    subject.write_text(project.replace(_NO_VERSION, f'version = "{__version__}"'), encoding="utf-8")
    bill = directory / f"{PROGRAM}-{__version__}.cdx.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
            *("--pyproject", subject, "--of", "JSON", "--output-file", bill),
            installation.directory / "bin" / "python",
        ],
        check=True,
        timeout=_TIMEOUT_S,
    )
    return bill


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bill into a directory, and tell where."""
    parser = argparse.ArgumentParser(prog="./dev sbom", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directory", type=Path, nargs="?", default=_REPOSITORY / "dist")
    directory: Path = parser.parse_args(argv).directory
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        wheel = build("wheel", _REPOSITORY, Path(made) / "wheel")
        bill = write_bill(Installation(Path(made) / "venv", wheel, ["all"]), directory)
    sys.stdout.write(f"wrote: {bill}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
