"""The simulator's API: a request comes in, a reply goes out; no waiting in between.

Who calls me: the connections. What goes wrong with a call is decided here, around its effect.
"""

import hmac
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from onebook.simulator.cards import looks_like_card
from onebook.simulator.documents import NewCapture, NewPayment, NewRefund, PaymentList, Refused
from onebook.simulator.faults import Call, Chance, Faults, Trouble
from onebook.simulator.ledger import Ledger
from onebook.simulator.page import answered_page, challenge_page

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
MAX_PAGE = 1_000
MAX_KEY = 255

_encode = msgspec.json.Encoder().encode
_new_payment = msgspec.json.Decoder(NewPayment)
_new_capture = msgspec.json.Decoder(NewCapture)
_new_refund = msgspec.json.Decoder(NewRefund)
_faults = msgspec.json.Decoder(Faults)


class Request(NamedTuple):
    """What came in."""

    method: bytes
    target: bytes
    authorization: bytes
    body: bytes


class Reply(NamedTuple):
    """What goes out, after so many seconds; a `dropped` one does not: its connection ends instead."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    after_seconds: float = 0.0
    dropped: bool = False


class Api:
    """All routes."""

    def __init__(self, ledger: Ledger, chance: Chance, secret: str) -> None:
        self._ledger = ledger
        self._chance = chance
        self._authorization = f"Bearer {secret}".encode()
        self._actions: dict[bytes, Callable[[str, bytes], Reply]] = {
            b"capture": self._capture,
            b"void": self._void,
            b"refunds": self._refund,
        }

    def reply(self, request: Request) -> Reply:
        """Every failure is a reply too."""
        try:
            return self._routed(request)
        except Refused as refusal:
            return _problem(refusal.status, refusal.code, str(refusal))
        except msgspec.ValidationError as error:
            return _problem(422, "invalid", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _problem(400, "malformed", "the body is JSON and all of the request UTF-8")
        except OSError as error:
            return _problem(500, "journal", str(error))

    def _routed(self, request: Request) -> Reply:
        path, _, query = request.target.partition(b"?")
        _, *parts = path.split(b"/")
        if len(parts) == 2 and parts[0] == b"challenges":
            return self._challenge(request.method, parts[1].decode(), request.body)
        if not hmac.compare_digest(request.authorization, self._authorization):
            raise Refused(401, "wrong_secret")
        match request.method, parts:
            case b"POST", [b"payments"]:
                return self._authorize(request.body)
            case b"POST", [b"payments", key, action] if action in self._actions:
                return self._actions[action](_key(key), request.body)
            case b"GET", [b"payments", key]:
                return self._find(_key(key))
            case b"GET", [b"payments"]:
                return self._list(parse_qs(query.decode()))
            case b"GET", [b"faults"]:
                return Reply(200, _encode(self._chance.faults))
            case b"PUT", [b"faults"]:
                self._chance.set(_faults.decode(request.body))
                return Reply(200, _encode(self._chance.faults))
        raise Refused(404, "unknown_route")

    def _authorize(self, body: bytes) -> Reply:
        order = _new_payment.decode(body)
        for text in (order.key, order.token, order.booking, order.description):
            _refuse_cards(text)
        return self._called(Call.AUTHORIZE, order.key, order.token, lambda: self._ledger.authorize(order))

    def _find(self, key: str) -> Reply:
        return self._called(Call.FIND, key, "", lambda: self._ledger.find(key).payment)

    def _capture(self, key: str, body: bytes) -> Reply:
        asked = _new_capture.decode(body)
        token = self._ledger.token_of(key)
        return self._called(Call.CAPTURE, key, token, lambda: self._ledger.capture(key, asked.amount_minor))

    def _void(self, key: str, _body: bytes) -> Reply:
        return self._called(Call.VOID, key, self._ledger.token_of(key), lambda: self._ledger.void(key))

    def _refund(self, key: str, body: bytes) -> Reply:
        order = _new_refund.decode(body)
        _refuse_cards(order.key)
        return self._called(Call.REFUND, key, self._ledger.token_of(key), lambda: self._ledger.refund(key, order))

    def _list(self, query: dict[str, list[str]]) -> Reply:
        since = _number(query, "since", 0.0)
        after = int(_number(query, "after", 0))
        limit = int(_number(query, "limit", MAX_PAGE))
        if not 0 < limit <= MAX_PAGE:
            raise Refused(422, "invalid", f"limit is from 1 to {MAX_PAGE}")

        def page() -> PaymentList:
            return self._ledger.page(since, after, limit)

        return self._called(Call.LIST, "", "", page)

    def _called(self, call: Call, key: str, token: str, effect: Callable[[], object]) -> Reply:
        """A call with what goes wrong before its effect, and after it."""
        faults = self._chance.faults
        if self._chance.hangs(call):
            return Reply(0, after_seconds=faults.hang_seconds, dropped=True)
        trouble = self._chance.trouble(call, key, token)
        if trouble is Trouble.TIMEOUT_BEFORE:
            return Reply(0, after_seconds=faults.timeout_seconds, dropped=True)
        if trouble is Trouble.ERROR_BEFORE:
            return _problem(500, "error", "as the faults have it, before the effect")
        try:
            answer = effect()
            reply = Reply(200, _encode(answer), after_seconds=self._chance.delay_seconds(call))
        except Refused as refusal:
            reply = _problem(refusal.status, refusal.code, str(refusal))
        if trouble is Trouble.TIMEOUT_AFTER:
            return Reply(0, after_seconds=faults.timeout_seconds, dropped=True)
        if trouble is Trouble.ERROR_AFTER:
            return _problem(500, "error", "as the faults have it, after the effect")
        return reply

    def _challenge(self, method: bytes, identity: str, body: bytes) -> Reply:
        """The payer's page; who knows its address may answer it."""
        if method == b"GET":
            record = self._ledger.challenged(identity)
            waits = record.payment.challenge_url is not None
            page = challenge_page(record.payment) if waits else answered_page(record.payment)
            return Reply(200, page.encode(), HTML)
        outcome = parse_qs(body.decode()).get("outcome")
        if method != b"POST" or outcome not in (["pass"], ["fail"]):
            raise Refused(422, "invalid", "POST outcome=pass or outcome=fail")
        return Reply(200, answered_page(self._ledger.answer(identity, outcome == ["pass"])).encode(), HTML)


def _key(part: bytes) -> str:
    key = part.decode() if b"%" not in part else unquote(part.decode(), errors="strict")
    if not 0 < len(key) <= MAX_KEY:
        raise Refused(422, "invalid", f"a key has 1 to {MAX_KEY} characters")
    _refuse_cards(key)
    return key


def _refuse_cards(text: str) -> None:
    if looks_like_card(text):
        raise Refused(422, "card_number", "card numbers are not taken here: send a token")


def _number(query: dict[str, list[str]], name: str, default: float) -> float:
    try:
        value = float(query.get(name, [str(default)])[0])
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:
        raise Refused(422, "invalid", f"{name} is a number from 0")
    return value


def _problem(status: int, code: str, detail: str) -> Reply:
    return Reply(status, _encode({"code": code, "detail": detail}))
