"""What texts and numbers in offers may be: definitions are wire shapes, so their bounds are those of the OpenAPI document."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from onebook.model.money import EXPONENTS, WHOLE_BASIS_POINTS

MAX_AMOUNT_MINOR = 10**12
PERIOD = {"starts": "from", "ends": "to"}

Amount = Annotated[int, Meta(ge=0, le=MAX_AMOUNT_MINOR, description="Minor units of the currency, cents for EUR.")]
BasisPoints = Annotated[
    int, Meta(ge=0, le=WHOLE_BASIS_POINTS, description="Hundredths of a per cent.", examples=[1000])
]
Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
Currency = Annotated[
    str,
    Meta(
        pattern=rf"^({'|'.join(sorted(EXPONENTS))})\Z",
        description="An active currency of ISO 4217.",
        examples=["EUR"],
        extra_json_schema={"enum": sorted(EXPONENTS)},
    ),
]
Instant = Annotated[datetime, Meta(tz=True)]
Label = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]+\Z", min_length=1, max_length=200)]
