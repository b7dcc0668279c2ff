"""Logs: structured, on stderr, text for people and JSON for machines."""

import logging
import sys

import structlog

from onebook.config import Logging


def configure_logs(settings: Logging, process: str | None = None) -> None:
    """Set structlog up for this process; its name goes with every line, since several write to one stderr."""
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        # A line in one write, also where stderr has no buffer: another process's line must not come in between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=settings.level.upper(), format="%(levelname)s %(name)s %(message)s")
    if process is not None:
        structlog.contextvars.bind_contextvars(process=process)
