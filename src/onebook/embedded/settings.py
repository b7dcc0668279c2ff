"""PostgreSQL's settings: durable without exception, sized for the machine, each with its reason.

The file is written anew at every start. It ends before `postgresql.auto.conf`, so that an operator's
`ALTER SYSTEM` wins and stays.
"""

from pathlib import Path, PurePosixPath

import psutil

MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")

TEMPLATE = """\
# Written by onebook at every start. To change a setting for good: ALTER SYSTEM.
include = 'postgres/postgresql.conf'
cluster_name = 'onebook'                        # how it is named in ps

# Reachable by its socket only, in a folder that is private to the server's account.
listen_addresses = ''
port = {port}
unix_socket_directories = {socket_dir}
unix_socket_permissions = 0700

# An acknowledged booking survives a power cut. Never traded for speed.
fsync = on
synchronous_commit = on
full_page_writes = on

# The relay reads the log from the WAL.
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = 8GB                    # a reader that is away for ever must not fill the disk

# Checkpoints are rare: each makes the next write of every page log the whole page.
checkpoint_timeout = 15min
max_wal_size = 4GB                              # bounds the disk used, and the recovery after a crash
min_wal_size = 512MB                            # a burst finds old segments to write over
wal_buffers = 32MB                              # group commit writes in bursts

# Memory, of {memory_mib} MiB that this machine or container gives us.
shared_buffers = {shared_buffers_mib}MB         # a quarter; a larger share leaves the kernel no page cache
effective_cache_size = {cache_mib}MB            # what the planner may expect to be cached somewhere
maintenance_work_mem = {maintenance_mib}MB      # vacuum and index builds

# Many short transactions over warm data.
max_connections = 300                           # two dozen for each worker at the most: a pool for each role
max_locks_per_transaction = 256                 # a batch touches many partitions and indexes
jit = off                                       # compiling costs more than any statement of ours runs
random_page_cost = 1.1                          # solid-state disks, and mostly cached

# Hot rows are updated over and over: clean up early and often, in small portions.
autovacuum = on
autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.02
autovacuum_vacuum_insert_scale_factor = 0.05
autovacuum_analyze_scale_factor = 0.02

# One clock, and a log that tells what is wrong without telling whom it concerns.
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'                      # into postgres.log, opened by whoever starts the server
logging_collector = off
log_line_prefix = '%m [%p] '
log_lock_waits = on                             # a second of waiting for a lock is a finding
log_min_duration_statement = 1s                 # so is a statement that takes a second
log_parameter_max_length = 0                    # values may be personal data
log_error_verbosity = terse                     # so may DETAIL, which quotes the row
"""


def server_settings(socket_dir: Path, port: int, memory_bytes: int) -> str:
    """The text of `postgres.conf` for a server that listens in `socket_dir` and may use `memory_bytes`."""
    memory_mib = memory_bytes // MIB
    return TEMPLATE.format(
        port=port,
        socket_dir=_quoted(str(socket_dir)),
        memory_mib=memory_mib,
        shared_buffers_mib=min(max(memory_mib // 4, 32), 2048),
        cache_mib=max(memory_mib // 2, 64),
        maintenance_mib=min(max(memory_mib // 16, 16), 256),
    )


def usable_memory_bytes() -> int:
    """The machine's memory, or what the control group of this process may use of it."""
    return min([psutil.virtual_memory().total, *_cgroup_limits()])


def _cgroup_limits() -> list[int]:
    """The limits of this process's control group and of those around it: the lowest counts."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        return []
    limits = []
    for line in memberships:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(group)
        limits += [_limit(mount / at.relative_to("/") / name) for at in (own, *own.parents)]
    return [limit for limit in limits if limit is not None]


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:  # no such level inside this container
        return None
    return int(text) if text.isdigit() else None  # "max": no limit


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
