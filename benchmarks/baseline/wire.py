"""The baseline's JSON shapes: the part of Onebook's `POST /v1/bookings` that the benchmark uses."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Line(BaseModel):
    """A number of units of one resource, from the first night to the morning of departure."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    resource: str
    first_night: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @model_validator(mode="after")
    def check_order(self) -> Self:
        """Refuse a stay that ends before it begins."""
        if self.first_night >= self.end:
            raise ValueError("`from` must lie before `to`")
        return self


class PlaceHold(BaseModel):
    """The body of `POST /v1/bookings`."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Line], Field(min_length=1, max_length=100)]
    ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600


class Held(BaseModel):
    """The answer to a hold that was placed."""

    id: str
    status: Literal["held"] = "held"
    channel: str
    expires_at: datetime
    items: list[Line]


class OnSale(BaseModel):
    """One resource: `available[i]` units in the night `cells[i]`."""

    resource: str
    cells: list[date]
    available: list[int]


class Availability(BaseModel):
    """The answer to `GET /v1/availability`."""

    model_config = ConfigDict(serialize_by_alias=True)

    venue: str
    first_night: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    resources: list[OnSale]
