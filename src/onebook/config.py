"""The settings: one commented default file, a file of your own over it, environment names over both."""

import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class BadConfig(Exception):
    """A setting is unknown or has a value that cannot be; the message names it."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and with how many processes requests are answered."""

    host: str
    port: Annotated[int, Meta(ge=0, le=65535)]
    workers: Annotated[int, Meta(ge=1, le=64)]
    graceful_seconds: Seconds


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which PostgreSQL; an empty url means the embedded one."""

    url: str
    ledger_url: str
    reader_url: str
    payments_url: str
    customers_url: str
    reader_connections: Count


class LedgerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the write side."""

    max_batch: Count
    max_waiting: Count
    command_timeout_seconds: Annotated[float, Meta(gt=0, le=4.5)]
    sweep_interval_seconds: Annotated[float, Meta(gt=0, le=1)]


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens."""

    max_ttl: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[smhd]\Z")]


class Logging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which NATS; an empty url means the embedded one."""

    url: str
    max_store_mib: Count
    max_age_minutes: Count


class RelaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From the WAL to the broker."""

    enabled: bool
    slot: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,63}\Z")]
    heartbeat_seconds: Annotated[float, Meta(gt=0, le=5)]
    max_waiting_mib: Count


class ViewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Availability in memory."""

    version_wait_seconds: Annotated[float, Meta(ge=0, le=3)]
    cached_answers: Count


class PushSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streams to clients."""

    max_clients: Count
    max_client_buffer_kib: Annotated[int, Meta(ge=16)]
    kept_events: Count
    comment_seconds: Seconds


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deliveries to partners' endpoints."""

    allow_loopback: bool
    concurrency: Count
    endpoint_concurrency: Count
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)]
    first_retry_seconds: Seconds
    give_up_hours: Annotated[float, Meta(gt=0)]
    breaker_failures: Count
    breaker_seconds: Seconds
    secret_overlap_hours: Annotated[float, Meta(ge=0)]
    keep_days: Count


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When somebody is told."""

    url: str
    secret: str
    lag_seconds: Seconds
    for_seconds: Seconds


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests are followed, and where their spans go."""

    sample_ratio: Annotated[float, Meta(ge=0, le=1)]
    otlp_endpoint: str
    keep_hours: Count


class PaymentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who charges, and how long anybody waits for it."""

    gateway: Literal["simulator", "stripe"]
    simulator_url: str
    simulator_secret: str
    stripe_url: str
    stripe_key: str
    stripe_webhook_secret: str
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)]
    answer_seconds: Annotated[float, Meta(gt=0, le=4.5)]
    concurrency: Count
    max_waiting: Count
    breaker_failures: Count
    breaker_seconds: Seconds
    challenge_seconds: Seconds
    resume_seconds: Seconds
    return_url: str
    quote_seconds: Seconds


class CustomerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key lies that wraps the customers' keys."""

    key_store: Literal["local", "google"]
    google_kms_url: str
    google_kms_key: str
    google_token_file: str


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, by section."""

    server: Server
    database: Database
    ledger: LedgerLimits
    auth: Auth
    log: Logging
    broker: BrokerSettings
    relay: RelaySettings
    views: ViewSettings
    push: PushSettings
    webhooks: WebhookSettings
    payments: PaymentSettings
    customers: CustomerSettings
    alerts: AlertSettings
    tracing: TracingSettings


def load(
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings: defaults, then the file, then ONEBOOK_… names, then overrides ("section.name"). Raises BadConfig."""
    values = tomllib.loads((files("onebook") / "defaults.toml").read_text("utf-8"))
    if file is not None:
        try:
            own = tomllib.loads(file.read_text("utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadConfig(f"cannot read the settings in {file}: {error}") from error
        for section, entries in own.items():
            if section not in values or not isinstance(entries, dict):
                raise BadConfig(f"{file}: there is no section [{section}]")
            values[section] |= entries
    for section, entries in values.items():
        for name, default in entries.items():
            text = environment.get(f"ONEBOOK_{section}_{name}".upper())
            if text is not None:
                entries[name] = _typed(text, default, f"ONEBOOK_{section}_{name}".upper())
    for path, value in (overrides or {}).items():
        section, _, name = path.partition(".")
        if value is not None:
            values[section][name] = value
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise BadConfig(f"a setting has a value it cannot have: {error}") from error
    if settings.alerts.url and not settings.alerts.secret.startswith("whsec_"):
        raise BadConfig("alerts.url needs alerts.secret, a whsec_… with which alerts are signed")
    if settings.payments.gateway == "stripe" and not settings.payments.stripe_key:
        raise BadConfig("payments.gateway stripe needs payments.stripe_key, your secret key there")
    customers = settings.customers
    if customers.key_store == "google" and not (customers.google_kms_key and customers.google_token_file):
        raise BadConfig("customers.key_store google needs customers.google_kms_key and customers.google_token_file")
    return settings


def _typed(text: str, default: Any, name: str) -> Any:
    """An environment text as what its default is."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError) as error:
        raise BadConfig(f"{name}={text!r} is not a {type(default).__name__}") from error
