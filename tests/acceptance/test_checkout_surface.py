"""What somebody who integrates checkouts meets, from the documents alone; and what others must not get by the same ways."""

import re
import shlex
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Api, Reply

DOCS = Path(__file__).parents[2] / "docs"


def documented_requests(page: str) -> list[list[str]]:
    """The arguments of each curl command in a page's first block of shell."""
    block = re.search(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert block is not None
    lines = block[1].replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("curl ")]


def curl(api: Api, arguments: list[str], known: dict[str, str]) -> Reply:
    """Send what curl would send, which for want of another header is a form."""
    method, url, *rest = arguments[1], *(re.sub(r"\$(\w+)", lambda name: known[name[1]], a) for a in arguments[2:])
    options: list[tuple[str, str]] = list(zip(rest[::2], rest[1::2], strict=True))
    headers = {"content-type": "application/x-www-form-urlencoded"}
    headers |= {n.lower(): v for n, v in (value.split(": ", 1) for option, value in options if option == "-H")}
    body = next(value for option, value in options if option == "-d")
    return api.request(method, url.removeprefix(api.base_url), body.encode(), token=None, headers=headers)


def test_the_documented_requests_pay_for_a_room(api: Api, venue: str) -> None:
    """docs/checkout.md, sent as it stands but for the venue's name: priced, quoted, held and paid."""
    known = {
        "B": f"{api.base_url}/v1",
        "H": f"Authorization: Bearer {api.token()}",
        "J": "Content-Type: application/json",
    }
    answers: list[Any] = []
    for arguments in documented_requests("checkout.md"):
        reply = curl(api, [argument.replace("alfama", venue) for argument in arguments], known)
        assert reply.status in {200, 201}, reply
        answers.append(reply.json())
        known |= {"ID": str(answers[-1].get("id")), "QUOTE": str(answers[-1].get("quote", known.get("QUOTE")))}
    assert (answers[-1]["status"], answers[-1]["amount_minor"]) == ("paid", 30_000)
