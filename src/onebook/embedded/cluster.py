"""The cluster on disk: created once, whole or not at all."""

import os
import shutil
import subprocess
from pathlib import Path

from onebook.embedded.account import Account
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import ROLE, DataFolder
from onebook.embedded.processes import stop_survivors

INITDB_SECONDS = 120


def ensure_cluster(folder: DataFolder, account: Account, programs: Path) -> None:
    """Creates the cluster if the folder has none.

    It grows under another name and is renamed when it is complete and synced, so that a first start that
    was killed leaves nothing that looks like a cluster.
    """
    if (folder.postgres / "PG_VERSION").exists():
        return
    if folder.postgres.exists():
        raise EmbeddedError(
            f"{folder.postgres} is not a PostgreSQL cluster",
            "it has no PG_VERSION, and we do not overwrite what we do not know",
            "Move it away, or choose another folder with --data",
        )
    stop_survivors(folder.postgres_new)  # an initdb that outlived its killed `onebook up`
    shutil.rmtree(folder.postgres_new, ignore_errors=True)
    folder.postgres_new.mkdir(mode=0o700)
    account.own(folder.postgres_new)
    _initdb(folder.postgres_new, account, programs)
    folder.postgres_new.rename(folder.postgres)
    _sync(folder.path)


def _initdb(cluster: Path, account: Account, programs: Path) -> None:
    command: list[str | Path] = [
        programs / "initdb",
        f"--pgdata={cluster}",
        f"--username={ROLE}",
        "--auth-local=trust",  # the socket's folder is private to the account, which is the authentication
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",  # the machine's locales differ and change; an index must not
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    process = account.spawn(command, cwd=cluster, output=subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=INITDB_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    if process.returncode != 0:
        raise EmbeddedError(
            "PostgreSQL could not create its cluster",
            " / ".join(output.decode(errors="replace").splitlines()[-5:]) or f"exit code {process.returncode}",
            f"Make sure that {cluster.parent} has room and is writable, then start again",
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
