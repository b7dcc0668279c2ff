"""`onebook token`: a bearer token for a role."""

from pathlib import Path

import rich_click as click

from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.commands.terminal import EXIT_NOT_READY, Failed, data_option, runs, seconds_of
from onebook.config import load
from onebook.embedded.folder import DataFolder


@click.command()
@data_option
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What the bearer may do.")
@click.option("--channel", help="Who sells; needed for the role channel.")
@click.option("--ttl", default="1h", show_default=True, help="How long it is good for: 90s, 15m, 1h, 30d.")
@runs
async def token(data: Path, role: str, channel: str | None, ttl: str) -> None:
    """Print a token, signed with the key in the data folder."""
    auth = load().auth
    if seconds_of(ttl) > seconds_of(auth.max_ttl):
        raise click.BadParameter(f"a token lives at most {auth.max_ttl} (setting auth.max_ttl)", param_hint="--ttl")
    folder = DataFolder(data)
    if not folder.keys.is_dir():
        raise Failed(
            f"There is no signing key in {data}. Start it once with `onebook up --data {data}`", EXIT_NOT_READY
        )
    try:
        minted = Keys.open(folder.keys).mint(Role(role), channel=channel, ttl_seconds=seconds_of(ttl))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--channel") from error
    click.echo(minted)
