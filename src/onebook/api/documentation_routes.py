"""The OpenAPI document, and the pages that show it. All assets are our own, so no other host is ever asked."""

from functools import lru_cache
from importlib.resources import files

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer
from onebook.api.operation import Call, operation

TAG = "Documentation"

PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Onebook API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="document"><noscript>This page needs JavaScript; the document itself is at /openapi.json.</noscript></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_SECURITY = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
_KEPT_A_DAY = (("cache-control", "public, max-age=86400"), ("x-content-type-options", "nosniff"))


@operation(
    method="GET",
    path="/docs",
    summary="This document, for people",
    tag=TAG,
    scope=None,
    answers={200: str},
    media_type="text/html",
)
async def docs(_call: Call[None, None]) -> Answer:
    """A page without inline scripts or styles."""
    return Answer(200, PAGE, _SECURITY, "text/html; charset=utf-8")


@operation(
    method="GET",
    path="/docs/swagger-ui-bundle.js",
    summary="The page's program",
    tag=TAG,
    scope=None,
    answers={200: str},
    media_type="text/javascript",
)
async def docs_program(_call: Call[None, None]) -> Answer:
    """Third-party, unchanged; see assets/SOURCES.toml."""
    return Answer(200, _asset("swagger-ui-bundle.js"), _KEPT_A_DAY, "text/javascript; charset=utf-8")


@operation(
    method="GET",
    path="/docs/start.js",
    summary="What starts the page",
    tag=TAG,
    scope=None,
    answers={200: str},
    media_type="text/javascript",
)
async def docs_start(_call: Call[None, None]) -> Answer:
    """Apart from the page, so that no inline script has to be allowed."""
    return Answer(200, _asset("start.js"), _KEPT_A_DAY, "text/javascript; charset=utf-8")


@operation(
    method="GET",
    path="/docs/swagger-ui.css",
    summary="The page's style",
    tag=TAG,
    scope=None,
    answers={200: str},
    media_type="text/css",
)
async def docs_style(_call: Call[None, None]) -> Answer:
    """Third-party, unchanged; see assets/SOURCES.toml."""
    return Answer(200, _asset("swagger-ui.css"), _KEPT_A_DAY, "text/css; charset=utf-8")


ROUTES: tuple[HTTPRouteHandler, ...] = (docs, docs_program, docs_start, docs_style)


@lru_cache(maxsize=8)
def _asset(name: str) -> bytes:
    return (files("onebook.api") / "assets" / name).read_bytes()
