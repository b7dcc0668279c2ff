"""Third-party files are what they say they are, and the page that uses them asks nobody else."""

import hashlib
import re
import tomllib
from importlib.resources import files

from onebook.api.documentation_routes import PAGE

ASSETS = files("onebook.api") / "assets"
OURS = {"SOURCES.toml", "start.js"}


def test_third_party_files_are_unchanged() -> None:
    """Every asset that is not ours has its digest, version and licence in SOURCES.toml."""
    sources = tomllib.loads((ASSETS / "SOURCES.toml").read_text("utf-8"))
    listed = {name: digest for source in sources.values() for name, digest in source["sha256"].items()}
    assert listed.keys() == {file.name for file in ASSETS.iterdir()} - OURS
    for name, digest in listed.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest
    assert all(source["version"] and source["licence"] for source in sources.values())


def test_the_page_is_strict() -> None:
    """The page has no inline script or style, and loads from our own paths only."""
    page = PAGE.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "<style" not in page and " style=" not in page
    assert all(link.startswith("/docs/") for link in re.findall(r'(?:src|href)="([^"]+)"', page))
