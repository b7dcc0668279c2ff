"""Every setting and every command has its line in docs/, and nothing stands there that does not exist."""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click

from onebook.cli import main

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_is_documented() -> None:
    """docs/settings.md names each setting with its environment name and its default, and no others."""
    documented = re.findall(
        r"^\| `(\S+)` \| `(\S+)` \| (?:`(\S*)`|empty) \|", (DOCS / "settings.md").read_text("utf-8"), re.M
    )
    defaults = tomllib.loads((files("onebook") / "defaults.toml").read_text("utf-8"))
    assert sorted(documented) == sorted(
        (f"{section}.{name}", f"ONEBOOK_{section}_{name}".upper(), _written(value))
        for section, entries in defaults.items()
        for name, value in entries.items()
    )


def test_every_command_is_documented() -> None:
    """docs/commands.md has a section for each command with a line for each of its options, and no others."""
    _, *sections = re.split(r"^## ", (DOCS / "commands.md").read_text("utf-8"), flags=re.M)
    documented = {
        section.partition("\n")[0]: sorted(re.findall(r"^\| `(--\S+?)[ `]", section, re.M)) for section in sections
    }
    assert documented == {
        name: sorted(p.opts[0] for p in command.params if isinstance(p, click.Option))
        for name, command in _commands("onebook", main)
    }


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that people type."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner is not None
        yield from _commands(f"{name} {word}", inner)


def _written(value: object) -> str:
    """A default as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
