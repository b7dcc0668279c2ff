"""One worker process: answers requests on the shared port, and ends with its supervisor.

Who calls me: the supervisor (see job.py). What I own: one event loop, the pools, the committer and the view that wiring builds
in it. What survives my crash: everything answered.
"""

import gc
import signal
import socket

import uvicorn
import uvloop

from onebook.api.app import Application, create_app
from onebook.api.express import ExpressProtocol
from onebook.job import READY, Job, read_job, when_supervisor_is_gone
from onebook.listening import listening_socket
from onebook.logs import configure_logs
from onebook.wiring.api import open_engine


def main() -> None:
    """Serve until SIGTERM, or until the supervisor is gone."""
    job = read_job()
    configure_logs(job.settings.log, "worker")
    # Requests leave few cycles behind: looking for them ten times less often saves a tenth of the processor time.
    gc.set_threshold(20_000, 20, 50)
    uvloop.run(_serve(job))


async def _serve(job: Job) -> None:
    app = create_app(lambda: open_engine(job))
    server = _Server(
        app,
        uvicorn.Config(
            app,
            http=ExpressProtocol,
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # else each client has a compressor of its own
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(job.settings.server.graceful_seconds) or 1,
        ),
    )
    when_supervisor_is_gone(server.stop)
    await server.serve(sockets=[listening_socket(job.settings.server.host, job.port)])


class _Server(uvicorn.Server):
    """Says when it serves, and stops when nobody supervises it."""

    def __init__(self, app: Application, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then tell the supervisor."""
        await super().startup(sockets)
        if self.started:
            print(READY, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first, which would otherwise be waited for."""
        engine = self.app.engine
        if engine is not None and engine.hub is not None:
            engine.hub.close()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Stop as SIGTERM would have it."""
        self.handle_exit(signal.SIGTERM, None)


if __name__ == "__main__":
    main()
