"""The `onebook` command. A command's modules are loaded when it is asked for: all of them together take a second or two."""

from importlib import import_module

import rich_click as click

COMMANDS = (
    "up",
    "demo",
    "replay",
    "verify",
    "token",
    "bench",
    "status",
    "webhooks",
    "customers",
    "money",
    "dlq",
    "trace",
    "migrate",
    "rebuild",
)
"""In the order in which they are listed. Each is a function of that name, in a module of that name."""


class Commands(click.RichGroup):
    """All commands, none of them loaded yet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, loaded."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"onebook.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands)
@click.version_option(package_name="onebook")
def main() -> None:
    """One ledger for everything sold by time, and every channel that sells it in lock-step."""


if __name__ == "__main__":
    main()
