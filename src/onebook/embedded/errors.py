"""The one error of this room: something about the machine or the data folder keeps us from serving."""


class EmbeddedError(Exception):
    """Says what went wrong, why, and what the operator can do next; shown as it is, without a traceback."""

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(f"{what}: {why}. {next_step}")
