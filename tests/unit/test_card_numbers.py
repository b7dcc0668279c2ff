"""What is taken for a card number, and what is not."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.luhn import card_numbers_in, check_digit

from onebook.api.card_numbers import looks_like_card, refuse_cards_in_head
from onebook.api.json_body import decode_json
from onebook.api.problems import Problem, problem_answer

VISA = "4111111111111111"

# Issuers' ranges as they are published: a prefix, and the lengths of its numbers.
SCHEMES: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "visa": [("4", (13, 16, 19))],
    "mastercard": [*((str(n), (16,)) for n in range(51, 56)), *((str(n), (16,)) for n in range(2221, 2721))],
    "amex": [("34", (15,)), ("37", (15,))],
    "discover": [("6011", (16,)), *((str(n), (16,)) for n in range(644, 650)), ("65", (16, 19))],
    "diners": [
        *((str(n), (14,)) for n in range(300, 306)),
        ("3095", (14,)),
        ("36", (14,)),
        ("38", (14,)),
        ("39", (14, 16)),
    ],
    "jcb": [(str(n), (16, 19)) for n in range(3528, 3590)],
    "unionpay": [("62", (16, 17, 18, 19))],
    "maestro": [(p, (13, 16, 19)) for p in ("5018", "5020", "5038", "5893", "6304", "6759", "6761", "6762", "6763")],
}
GROUPINGS: dict[int, tuple[tuple[int, ...], ...]] = {
    13: ((4, 4, 4, 1),),
    14: ((4, 6, 4), (4, 4, 4, 2)),
    15: ((4, 6, 5), (4, 4, 4, 3)),
    16: ((4, 4, 4, 4),),
    17: ((4, 4, 4, 4, 1),),
    18: ((4, 4, 4, 4, 2),),
    19: ((4, 4, 4, 4, 3),),
}


@st.composite
def cards(draw: st.DrawFn) -> str:
    """A valid number of some scheme, plain or as it is printed."""
    prefix, lengths = draw(st.sampled_from(SCHEMES[draw(st.sampled_from(sorted(SCHEMES)))]))
    length = draw(st.sampled_from(lengths))
    free = length - len(prefix) - 1
    number = prefix + draw(st.text("0123456789", min_size=free, max_size=free))
    number += check_digit(number)
    groups = draw(st.sampled_from([None, *GROUPINGS[length]]))
    if groups is None:
        return number
    ends = [sum(groups[: place + 1]) for place in range(len(groups))]
    parts = [number[end - size : end] for size, end in zip(groups, ends, strict=True)]
    return draw(st.sampled_from(" -")).join(parts)


# What may stand around a number without making it part of a longer word.
BEFORE = st.sampled_from(["", " ", "card: ", "1234 ", "(", "key_", "a-", '"', "é", "\n", "/", "."])
AFTER = st.sampled_from(["", " ", " 12/29", ")", "_key", "-a", '"', "é", "\n", "/", "."])

BODIES: list[Any] = [
    lambda text: {"reference": text},
    lambda text: {"items": [{"resource": "a"}, {"resource": text}]},
    lambda text: {text: 1},
    lambda text: {"a/b~": {text: {"x": text}}},
    lambda text: [text],
    lambda text: text,
]


@given(cards(), BEFORE, AFTER)
@example("4242 4242 4242 4242", "4242 ", "")
def test_every_card_number_is_caught(card: str, before: str, after: str) -> None:
    """Of every scheme, in every grouping, wherever it stands in a text; the scan of the tests finds it as well."""
    assert looks_like_card(before + card + after)
    if "12" not in before + after:
        assert card_numbers_in((before + card + after).encode())


@given(cards(), st.sampled_from(BODIES), st.booleans())
def test_a_body_with_one_is_refused_and_not_repeated(card: str, body_with: Any, is_escaped: bool) -> None:
    """Whatever field, key or item it stands in, escaped or not: 422, a pointer, and no trace of the number."""
    body = json.dumps(body_with(card)).encode()
    if is_escaped:
        body = body.replace(card.encode(), "".join(f"\\u{ord(each):04x}" for each in card).encode())
    with pytest.raises(Problem) as refused:
        decode_json(body, dict)
    answered = problem_answer(refused.value)
    assert (answered.status, refused.value.code) == (422, "card-number")
    assert "pointer" in msgspec.json.decode(answered.body)
    assert card.encode() not in answered.body and not card_numbers_in(answered.body)


@pytest.mark.parametrize(
    "text",
    [
        VISA.translate({digit: digit + 0xFEE0 for digit in range(48, 58)}),  # full width
        VISA.translate({digit: digit + 0x0630 for digit in range(48, 58)}),  # Arabic-Indic
        "4111\u00a01111\u20091111\u30001111",
        "4111–1111–1111–1111",
    ],
)
def test_another_spelling_is_the_same_number(text: str) -> None:
    """Digits of another script, or other spaces and dashes between them, are what they look like."""
    with pytest.raises(Problem) as refused:
        decode_json(json.dumps({"reference": text}, ensure_ascii=False).encode(), dict)
    assert refused.value.code == "card-number"


@pytest.mark.parametrize("body", [b'{"n":4111111111111111}', b'{"n":-4111111111111111}', b'{"n":4.111111111111111e15}'])
def test_a_number_is_a_text_too(body: bytes) -> None:
    """One that comes as a number of JSON is refused alike, and the pointer names its place."""
    with pytest.raises(Problem) as refused:
        decode_json(body, dict)
    assert refused.value.members["pointer"] == "/n"


@pytest.mark.parametrize(
    ("head", "parameter"),
    [
        ((f"/v1/bookings/{VISA}", b"", None), "path"),
        (("/v1/events", b"venue=4111+1111%201111-1111", None), "query"),
        (("/v1/bookings", b"", f"order-{VISA}"), "idempotency-key"),
    ],
)
def test_a_head_with_one_is_refused(head: tuple[str, bytes, str | None], parameter: str) -> None:
    """Path, query and idempotency key are looked at too; the answer says which."""
    with pytest.raises(Problem) as refused:
        refuse_cards_in_head(*head)
    assert (refused.value.code, refused.value.members["parameter"]) == ("card-number", parameter)
    assert VISA.encode() not in problem_answer(refused.value).body


@given(
    st.one_of(
        st.uuids().map(str),
        st.uuids().map(lambda each: each.hex),
        st.datetimes().map(lambda each: each.isoformat() + "Z"),
        st.integers(1_500_000_000_000_000_000, 1_999_999_999_999_999_999).map(str),
        st.integers(1_500_000_000_000, 1_999_999_999_999).map(str),
        st.text("0123456789", min_size=6, max_size=15).map(lambda each: "+" + each),
        st.text("0123456789 -", max_size=12),
        st.text("0123456789", min_size=20, max_size=40),
    )
)
@example("44444444-4444-4444-8444-444444444444")
@example("41111111-1111-1111-8111-411111111111")
@example("x" + VISA)
@example(VISA + "a")
@example("4111111111111112")
def test_what_programs_send_is_not_taken_for_one(text: str) -> None:
    """Identifiers, times, telephone numbers and short references pass, and so does what has a wrong check digit."""
    assert not looks_like_card(text)
