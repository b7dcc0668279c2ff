"""Who PostgreSQL runs as: ourselves, or an unprivileged account when we are root, whom PostgreSQL refuses."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from onebook.embedded.errors import EmbeddedError

# Nothing of the caller's environment: PGPORT, PGDATA and the like would change what the server does.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# Prints the first argument that the account cannot enter or execute. The kernel answers: ACLs count.
FIRST_BARRIER = 'for p; do [ -x "$p" ] || { printf %s "$p"; exit 1; }; done'


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine under whom PostgreSQL's programs run."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether this is the account we run under, so that there is nothing to switch."""
        return self.uid == os.geteuid()

    def spawn(self, arguments: Sequence[str | Path], *, cwd: Path, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts a program under this account, in a session of its own: Ctrl-C is ours to handle, in order.

        No PR_SET_PDEATHSIG: it fires when the starting *thread* ends. A server that outlives us is stopped by
        the next start instead, and until then an auditor can still read it.
        """
        return subprocess.Popen(  # noqa: S603 - only programs of the wheel and /bin/sh, never a shell line with input
            arguments,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            user=None if self.is_ours else self.uid,
            group=None if self.is_ours else self.gid,
            extra_groups=None if self.is_ours else [],
        )

    def barrier(self, path: Path) -> Path | None:
        """The first folder on the way to `path`, or `path` itself, that is closed to the account."""
        if self.is_ours:
            return None  # what we could not reach, we would not have got as far as asking for
        way = [*reversed(path.parents), path]
        question: list[str | Path] = ["/bin/sh", "-c", FIRST_BARRIER, "sh", *way]
        answer, _ = self.spawn(question, cwd=Path("/"), output=subprocess.PIPE).communicate(timeout=10)
        return Path(os.fsdecode(answer)) if answer else None

    def own(self, path: Path) -> None:
        """Gives `path` to this account."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)


def account_for(cluster: Path) -> Account:
    """The account for the server of `cluster`; the owner of an existing one: PostgreSQL takes no other."""
    if os.geteuid() != 0:
        return _by_uid(os.geteuid())
    if cluster.exists() and cluster.stat().st_uid != 0:
        return _by_uid(cluster.stat().st_uid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL cannot start",
        "it refuses to run as root, and this machine has neither a user `postgres` nor `nobody`",
        "Create one (useradd --system postgres), or run onebook as an ordinary user",
    )


def _by_uid(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container that runs under a bare number
        return Account(f"uid {uid}", uid, os.getegid() if uid == os.geteuid() else uid)
    return Account(entry.pw_name, uid, entry.pw_gid)
