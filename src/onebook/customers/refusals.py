"""Why the customers' room says no."""

from onebook.model.refusals import Refusal


class UnknownCustomer(Refusal, frozen=True):
    """There is no such customer, or not for this channel."""

    code = "not-found"
    status = 404
    title = "There is no such customer"


class CustomerErased(Refusal, frozen=True):
    """There was one, of whom nothing is left but the id."""

    code = "customer-erased"
    status = 410
    title = "The customer has been erased"


class EmailTaken(Refusal, frozen=True):
    """Another living customer of the channel has this address."""

    pointer: str = "/email"

    code = "email-taken"
    title = "Another customer has this e-mail address"


class RevisionMismatch(Refusal, frozen=True):
    """The customer has changed since the revision named in If-Match."""

    version: int

    code = "version-mismatch"
    status = 412
    title = "The customer has another version by now"


class Contended(Refusal, frozen=True):
    """Others kept changing the customer at the same moment."""

    code = "contended"
    title = "The customer is being changed by others; send it again"


class TooMany(Refusal, frozen=True):
    """A profile holds so many names and no more."""

    pointer: str
    limit: int

    code = "too-many"
    status = 422
    title = "The profile would hold too many names"


class Refused(Exception):
    """An expected no; carries the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.title)
        self.refusal = refusal
