"""The `onebook` command."""

import rich_click as click

from onebook.commands.bench import bench
from onebook.commands.customers import customers
from onebook.commands.demo import demo
from onebook.commands.dlq import dlq
from onebook.commands.migrate import migrate
from onebook.commands.money import money
from onebook.commands.rebuild import rebuild
from onebook.commands.replay import replay
from onebook.commands.status import status
from onebook.commands.token import token
from onebook.commands.trace import trace
from onebook.commands.up import up
from onebook.commands.verify import verify
from onebook.commands.webhooks import webhooks


@click.group()
@click.version_option(package_name="onebook")
def main() -> None:
    """One ledger for everything sold by time, and every channel that sells it in lock-step."""


for command in (
    up,
    demo,
    replay,
    verify,
    token,
    bench,
    status,
    webhooks,
    customers,
    dlq,
    money,
    trace,
    migrate,
    rebuild,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
