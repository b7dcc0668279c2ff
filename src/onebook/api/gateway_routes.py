"""What payment gateways tell us. Who tells it is proved by the gateway's signature over the body, not by a token."""

from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem
from onebook.checkout.gateways.protocol import BadNotification


class Received(msgspec.Struct, frozen=True):
    """It need not be sent again."""

    received: bool = True


@operation(
    method="POST",
    path="/v1/gateways/{gateway}/notifications",
    summary="The payment gateway says that something has happened to a payment",
    tag="Payments",
    scope=None,
    body=dict[str, Any],
    body_signed=True,
    answers={200: Received},
    problems=(400, 404, 503),
)
async def receive_notification(call: Call[None, None]) -> Answer:
    """A hint only: what has happened to the payment is asked of the gateway. A repeated one does nothing."""
    checkouts = call.engine.checkouts
    if call.path["gateway"] != checkouts.gateway.name:
        raise Problem(404, "not-found", "Not found", detail="no such gateway charges here")
    try:
        notification = checkouts.gateway.read_notification(call.headers, call.raw)
        if "\0" in f"{notification.id}{notification.key}":
            raise BadNotification("no text of PostgreSQL's has a zero in it")
    except BadNotification as error:
        raise Problem(400, "bad-signature", "The notification is not the gateway's", detail=str(error)) from error
    await checkouts.notified(notification)
    return answer(200, Received())


ROUTES: tuple[HTTPRouteHandler, ...] = (receive_notification,)
