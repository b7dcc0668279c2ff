"""localstripe as a process, with what it lacks of Stripe's documented behaviour; `python -m` runs it.

What moves money in the tests stays localstripe's own: its intents, charges, refunds and their states. Added are:

- idempotency keys, which it ignores: the first answer is kept and repeated, marked as such; the same key with another request, or
  while the first is under way, is refused (docs.stripe.com/api/idempotent_requests);
- confirming with a payment method and a return URL, and sending the payer there; it knows the challenge of Stripe's script only;
- `amount_received` and `description` of an intent;
- refusing to capture what was cancelled, and to refund what was not captured or was given back already;
- lists by time, the latest first, and the search by metadata.

`POST /_config/day` lets a day pass: keys are forgotten. It writes no file; localstripe's own would lie in a folder shared by all.
"""

import json
import re
import socket
from functools import partial
from typing import Any

from aiohttp import web
from localstripe import resources, server  # type: ignore[import-untyped]
from localstripe.errors import UserError  # type: ignore[import-untyped]
from localstripe.resources import PaymentIntent, Refund, StripeObject  # type: ignore[import-untyped]

UNDER_WAY = (0, b"", b"")

kept: dict[str, tuple[int, bytes, bytes]] = {}
"""Of each key: the answer's status and body, and the request."""


@web.middleware
async def keep_answers(request: web.Request, handler: Any) -> Any:
    """Do one thing once per key."""
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return await _handled(request, handler)
    asked = request.path.encode() + b"?" + await request.read()
    if (found := kept.get(key)) is not None:
        status, body, before = found
        if found is UNDER_WAY:
            return _error(409, "idempotency_key_in_use", "idempotency_error")
        if before != asked:
            return _error(400, "", "idempotency_error")
        return web.Response(
            status=status, body=body, headers={"idempotent-replayed": "true"}, content_type="application/json"
        )
    kept[key] = UNDER_WAY
    answered = await _handled(request, handler)
    kept[key] = (answered.status, bytes(answered.body), asked)
    return answered


async def _handled(request: web.Request, handler: Any) -> Any:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        return _error(500, type(error).__name__, "api_error")


def _error(status: int, code: str, kind: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "code": code, "message": code}}, status=status)


async def let_a_day_pass(_: web.Request) -> web.Response:
    """Stripe may forget keys after 24 hours."""
    kept.clear()
    return web.Response()


async def search(request: web.Request) -> web.Response:
    """Intents by one value of their metadata."""
    name, value = re.fullmatch(r"metadata\['(\w+)'\]:'([^']*)'", request.query["query"]).groups()  # type: ignore[union-attr]
    found = [intent for intent in reversed(_intents()) if intent.metadata.get(name) == value]
    return web.json_response({"data": [intent._export() for intent in found], "has_more": False})


def _intents() -> list[Any]:
    return [value for key, value in resources.store.items() if key.startswith("payment_intent:")]


def _create(made: Any, description: str = "", **given: Any) -> Any:
    """With a description."""
    intent = made(**given)
    intent.description = description
    return intent


def _confirm(identity: str, payment_method: str, return_url: str = "") -> Any:
    """With a payment method, also after one that was declined."""
    intent = PaymentIntent._api_retrieve(identity)
    if intent.status not in {"requires_payment_method", "requires_confirmation"}:
        raise UserError(400, "no", {"code": "payment_intent_unexpected_state"})
    intent.payment_method, intent.latest_charge = payment_method, None
    intent._confirm(on_failure_now=intent._report_failure)
    if intent.next_action:
        intent.next_action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"url": f"https://hooks.stripe.example/{identity}", "return_url": return_url},
        }
    return intent


def _capture(capture: Any, identity: str, **given: str) -> Any:
    """Not what was cancelled or declined."""
    if PaymentIntent._api_retrieve(identity).status != "requires_capture":
        raise UserError(400, "no", {"code": "payment_intent_unexpected_state"})
    return capture(identity, **given)


def _list(url: str, created: dict[str, str] | None = None, limit: str = "10", starting_after: str | None = None) -> Any:
    """The latest first, of those made since."""
    found = resources.List(url, limit=limit, starting_after=starting_after)
    since = int((created or {}).get("gte", 0))
    found._list = [intent for intent in reversed(_intents()) if intent.created >= since]
    return found


def _received(intent: Any) -> Any:
    """What was captured: all but what localstripe has refunded at that moment for not being captured."""
    charge = intent.latest_charge
    if charge is None or not charge.captured:
        return 0
    return charge.amount - sum(refund.amount for refund in charge.refunds._list if refund.payment_intent is None)


def _refund(made: Any, self: Any, **given: Any) -> None:
    """No more than what was captured."""
    if identity := given.get("payment_intent"):
        intent = PaymentIntent._api_retrieve(identity)
        if not _received(intent):
            raise UserError(400, "no", {"code": "charge_not_captured"})
        if intent.latest_charge.amount_refunded + int(given["amount"]) > intent.latest_charge.amount:
            raise UserError(400, "no", {"code": "charge_already_refunded"})
    made(self, **given)


def main() -> None:
    """Serve on a free port, and say which."""
    resources.Store.dump_to_disk = lambda store: None
    create, refund = StripeObject._api_create.__func__, Refund.__init__
    PaymentIntent._api_create = classmethod(lambda cls, **given: _create(lambda **more: create(cls, **more), **given))
    PaymentIntent._api_list_all = classmethod(lambda cls, url, **given: _list(url, **given))
    PaymentIntent.amount_received = property(_received)
    Refund.__init__ = lambda self, **given: _refund(refund, self, **given)
    app = web.Application(middlewares=[keep_answers, *server.app.middlewares])
    app.router.add_post("/_config/day", let_a_day_pass)
    app.router.add_get("/v1/payment_intents/search", search)
    for step, function in (("confirm", _confirm), ("capture", partial(_capture, PaymentIntent._api_capture))):
        app.router.add_post(f"/v1/payment_intents/{{id}}/{step}", server.api_extra(_of_id(function), ""))
    for route in server.app.router.routes():
        app.router.add_route(route.method, route.resource.canonical, route.handler)
    listening = socket.create_server(("127.0.0.1", 0))
    web.run_app(app, sock=listening, print=lambda *_: print(json.dumps(listening.getsockname()[1]), flush=True))


def _of_id(function: Any) -> Any:
    """As localstripe calls it, by the name of the path's parameter."""
    return lambda **given: function(given.pop("id"), **given)


if __name__ == "__main__":
    main()
