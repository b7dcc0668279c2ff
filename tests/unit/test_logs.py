"""Lines of the log, as those who collect them need them."""

import socket
import subprocess
import sys

import msgspec

SAYS = """
import structlog
from onebook.config import Logging
from onebook.logs import configure_logs

configure_logs(Logging(level="info", format="json"), "relay")
structlog.get_logger().warning("said")
"""


def test_a_line_tells_its_process_and_is_one_write() -> None:
    """Processes that share one stderr can be told apart, and do not write into each other's lines, buffered or not."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        subprocess.run([sys.executable, "-u", "-c", SAYS], stderr=there.fileno(), check=True, timeout=30)
        written = here.recv(4096)
    assert written.endswith(b"}\n")
    assert msgspec.json.decode(written)["process"] == "relay"
