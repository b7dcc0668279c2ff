"""Quotes as tokens, and for which bookings they stand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onebook.checkout.prices.seal import KEY_FILE, MAX_TOKEN_BYTES, BadQuote, Seal, TooLong
from onebook.checkout.prices.standing import QuoteExpired, QuoteMismatch, stands
from onebook.model.booking import Booking, BookingId, Item, Status
from onebook.model.offers.quote import Guests, ItemPolicy, LineKind, PolicyStep, Quote, QuotedItem, QuoteLine

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ARRIVAL = datetime(2026, 12, 1, 15, tzinfo=UTC)
ITEM = QuotedItem("alfama/double", "2026-12-01", "2026-12-04", 1, ARRIVAL, guests=Guests(2, 1), rate_plan="flex")
QUOTE = Quote(
    id="0193-quote",
    made_at=NOW,
    valid_until=NOW + timedelta(minutes=30),
    currency="EUR",
    items=(ITEM,),
    lines=(QuoteLine(0, "alfama", LineKind.PRICE, "flex", "Flexible, ação", 30_000, 3, 10_000),),
    policies=(ItemPolicy("flex", (PolicyStep(24, 5000),)),),
    total_minor=30_000,
    due_now_minor=30_000,
    coupons=("alfama/SUMMER",),
)
BOOKING = Booking(
    id=BookingId("0193-booking"),
    status=Status.HELD,
    channel="atlas",
    idempotency_key="k",
    request_hash=b"h",
    placed_at=NOW + timedelta(minutes=10),
    ttl_seconds=3600,
    items=(Item("alfama/double", "2026-12-01", "2026-12-04", 1, 7, (20788, 20791)),),
    amended=None,
    expires_at=NOW + timedelta(minutes=70),
    reference=None,
    customer=None,
    revision=1,
)
SEAL = Seal(b"k" * 32)
TOKEN = SEAL.close(QUOTE)


def test_a_token_says_what_the_quote_said() -> None:
    """Every field of a quote comes back from its token."""
    assert SEAL.read(TOKEN) == QUOTE


@given(place=st.integers(0, len(TOKEN) - 1), flip=st.integers(1, 255))
def test_no_byte_of_a_token_can_be_changed(place: int, flip: int) -> None:
    """A token with any one byte changed is nobody's, even where it stands for the same bytes in base64."""
    changed = bytearray(TOKEN.encode())
    changed[place] ^= flip
    with pytest.raises(BadQuote):
        SEAL.read(changed.decode("latin-1"))


@given(st.text(max_size=200) | st.integers(0, len(TOKEN)).map(lambda end: TOKEN[:end] if end < len(TOKEN) else ""))
def test_what_we_did_not_write_is_no_quote(text: str) -> None:
    """Whatever else is sent as a token is refused as such, and so is a token cut short."""
    with pytest.raises(BadQuote):
        SEAL.read(text)


def test_another_key_makes_another_seal() -> None:
    """A token of another installation is a stranger's."""
    with pytest.raises(BadQuote):
        Seal(b"x" * 32).read(TOKEN)


def test_a_folder_has_one_seal(tmp_path: Path) -> None:
    """The key is made once, for its owner's eyes alone; a file that holds no key is refused instead of used."""
    assert Seal.open(tmp_path / "keys").read(Seal.open(tmp_path / "keys").close(QUOTE)) == QUOTE
    key = tmp_path / "keys" / KEY_FILE
    assert key.stat().st_mode & 0o077 == 0
    assert [file.name for file in key.parent.iterdir()] == [KEY_FILE]
    key.write_bytes(b"")
    with pytest.raises(ValueError, match="a key has 32"):
        Seal.open(tmp_path / "keys")


def test_a_quote_beyond_the_bound_has_no_token() -> None:
    """What would not fit the body of a checkout is refused when it is made."""
    noise = [QuoteLine(0, "alfama", LineKind.PRICE, f"{n * 7919:x}", f"{n**5:x}", n**3, 1, n**3) for n in range(3000)]
    with pytest.raises(TooLong):
        SEAL.close(replace(QUOTE, lines=tuple(noise)))
    assert len(SEAL.close(replace(QUOTE, lines=tuple(noise[:500])))) < MAX_TOKEN_BYTES


@pytest.mark.parametrize(
    ("quote", "booking", "minutes", "refused"),
    [
        pytest.param({}, {}, 20, None, id="within its time"),
        pytest.param({}, {}, 69, None, id="placed within its time, as long as the hold lives"),
        pytest.param({}, {}, 70, QuoteExpired, id="the hold has expired, and so has the quote"),
        pytest.param({}, {"expires_at": NOW + timedelta(minutes=15)}, 20, None, id="only the hold has expired"),
        pytest.param({}, {"status": Status.CONFIRMED, "expires_at": None}, 31, QuoteExpired, id="confirmed long ago"),
        pytest.param({}, {"placed_at": NOW + timedelta(minutes=31)}, 40, QuoteExpired, id="placed too late"),
        pytest.param({"booking": "0193-booking"}, {"placed_at": NOW + timedelta(hours=-1)}, 69, None, id="made for it"),
        pytest.param({"booking": "0193-booking"}, {}, 71, QuoteExpired, id="made for it, but the hold is gone"),
        pytest.param({"booking": "another"}, {}, 20, QuoteMismatch, id="made for another"),
        pytest.param({"customer": "ada"}, {"customer": "bob"}, 20, QuoteMismatch, id="made for somebody else"),
        pytest.param({"customer": "ada"}, {}, 20, None, id="the booking names nobody"),
        pytest.param({"items": (replace(ITEM, quantity=2),)}, {}, 20, QuoteMismatch, id="another quantity"),
        pytest.param({"items": (replace(ITEM, ends="2026-12-03"),)}, {}, 20, QuoteMismatch, id="another period"),
        pytest.param({"items": (ITEM, ITEM)}, {}, 20, QuoteMismatch, id="one item too many"),
        pytest.param({"items": ()}, {}, 20, QuoteMismatch, id="one item too few"),
        pytest.param({}, {"amended": ()}, 20, QuoteMismatch, id="amended since"),
    ],
)
def test_for_which_bookings_a_quote_stands(
    quote: dict[str, object], booking: dict[str, object], minutes: int, refused: type | None
) -> None:
    """A quote stands for exactly its items, until its time has passed, and then for a hold that was placed before that."""
    verdict = stands(replace(QUOTE, **quote), replace(BOOKING, **booking), NOW + timedelta(minutes=minutes))
    assert (None if verdict is None else type(verdict)) == refused


def test_the_order_of_items_does_not_matter() -> None:
    """A booking of the same items in another order is the same basket."""
    other = replace(ITEM, resource="alfama/single")
    lines = (replace(BOOKING.items[0], resource="alfama/single"), BOOKING.items[0])
    assert stands(replace(QUOTE, items=(ITEM, other)), replace(BOOKING, items=lines), NOW) is None
