"""The Grafana dashboard: one row each for what flows, who is behind, and what stands in the way."""

from typing import Any

from onebook.ops.lag.rules import FIRING
from onebook.readings.pipeline import (
    BREAKER,
    CHECKOUTS,
    CHECKOUTS_UNDER_WAY,
    CLIENTS,
    COMMANDS,
    DEAD_LETTERS,
    DELIVERIES,
    DUPLICATES,
    END_TO_END,
    EVENTS,
    FORGED,
    LAG,
    OFFSET,
    PARKED,
    REBALANCE,
    REFILLS,
    RELAY,
    SLOT_RETAINED,
    SLOT_SAFE,
)

COLUMNS = 24  # of Grafana's grid
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${source}"}

Query = tuple[str, str]
"""PromQL, and the legend of its lines."""

Panel = tuple[str, str, tuple[Query, ...]]
"""Title, unit of the values in Grafana's names, queries."""

# $__rate_interval: four scrapes at least, so that a rate never falls between two of them.
ROWS: tuple[tuple[Panel, ...], ...] = (
    (
        (
            "Holds",
            "ops",
            ((f'sum(rate({COMMANDS}{{command="PlaceHold",outcome="done"}}[$__rate_interval]))', "holds"),),
        ),
        ("Commands by outcome", "ops", ((f"sum by (outcome) (rate({COMMANDS}[$__rate_interval]))", "{{outcome}}"),)),
        ("Events handled", "ops", ((f"sum by (consumer) (rate({EVENTS}[$__rate_interval]))", "{{consumer}}"),)),
    ),
    (
        ("Lag", "s", ((f"max by (consumer) ({LAG})", "{{consumer}}"),)),
        (
            "Commit to consumer, p50 and p99",
            "s",
            tuple(
                (
                    f"histogram_quantile({share}, sum by (consumer, le) (rate({END_TO_END}_bucket[$__rate_interval])))",
                    f"{{{{consumer}}}} {name}",
                )
                for share, name in (("0.5", "p50"), ("0.99", "p99"))
            ),
        ),
        (
            "Backlog behind the relay",
            "bytes",
            (
                (
                    f'clamp_min(scalar(max({OFFSET}{{consumer="{RELAY}"}})) - min by (consumer) ({OFFSET}), 0)',
                    "{{consumer}}",
                ),
            ),
        ),
    ),
    (
        ("Replication slot", "bytes", ((f"max({SLOT_RETAINED})", "held back"), (f"min({SLOT_SAFE})", "left"))),
        ("Time to be up to date again", "s", ((f"max by (consumer) ({REBALANCE})", "{{consumer}}"),)),
        (
            "Repairs",
            "ops",
            (
                (f"sum by (consumer) (rate({REFILLS}[$__rate_interval]))", "{{consumer}} refills"),
                (f"sum by (consumer) (rate({DUPLICATES}[$__rate_interval]))", "{{consumer}} duplicates"),
                (f"sum by (consumer) (rate({PARKED}[$__rate_interval]))", "{{consumer}} parked"),
                (f"sum by (consumer) (rate({FORGED}[$__rate_interval]))", "{{consumer}} forged"),
            ),
        ),
    ),
    (
        ("Stream clients", "short", ((f"sum({CLIENTS})", "clients"),)),
        (
            "Webhooks",
            "short",
            (
                (f"sum({DELIVERIES})", "not finished"),
                (f"count({BREAKER} > 0) or vector(0)", "breakers open"),
                (f"sum({DEAD_LETTERS})", "dead letters"),
            ),
        ),
        (
            "Checkouts",
            "short",
            (
                (f"sum by (state) (rate({CHECKOUTS}[$__rate_interval]))", "{{state}} a second"),
                (f"sum({CHECKOUTS_UNDER_WAY})", "under way"),
            ),
        ),
        ("Alerts firing", "short", ((f"max by (alert) ({FIRING}) > 0", "{{alert}}"),)),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; which Prometheus is asked at the import."""
    return {
        "uid": "onebook-pipeline",
        "title": "Onebook: the pipeline",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [
            _panel(panel, row=row, column=column, columns=len(panels))
            for row, panels in enumerate(ROWS)
            for column, panel in enumerate(panels)
        ],
    }


def _panel(panel: Panel, *, row: int, column: int, columns: int) -> dict[str, Any]:
    title, unit, queries = panel
    width = COLUMNS // columns
    return {
        "id": 100 * row + column + 1,
        "title": title,
        "type": "timeseries",
        "datasource": SOURCE,
        "gridPos": {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(queries)
        ],
    }
