"""The Prometheus rules and the Grafana dashboard that are shipped are those that the one table of rules makes."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, Gauge

from onebook.config import load
from onebook.ops.lag.dashboard import dashboard
from onebook.ops.lag.rules import CONSUMERS, rules_of
from onebook.ops.lag.shipped import shipped_files
from onebook.readings import pipeline

SHIPPED = Path(__file__).parents[2] / "docs" / "monitoring"
ROOMS_WITH_METRICS = ("broker", "channels", "checkout", "ledger", "push", "relay")
SUFFIXES = r"(?:_total|_bucket|_count|_sum)?"


@pytest.fixture(scope="module")
def reported() -> set[str]:
    """The names of all metrics that the rooms and the alerts report."""
    for room in ROOMS_WITH_METRICS:
        importlib.import_module(f"onebook.{room}.metrics")
    importlib.import_module("onebook.ops.lag.alerts")
    return {re.sub(SUFFIXES + r"\Z", "", metric.name) for metric in REGISTRY.collect()}


@pytest.mark.parametrize("name", ["onebook.rules.yml", "onebook.dashboard.json"])
def test_what_is_shipped_is_what_the_rules_make(name: str) -> None:
    """docs/monitoring is made by `python -m onebook.ops.lag.shipped docs/monitoring`; run it after changing a rule."""
    made = shipped_files(load(environment={}).alerts)
    assert (SHIPPED / name).read_text("utf-8") == made[name]


def test_nothing_else_is_shipped() -> None:
    """No file is left behind that nothing makes."""
    made = shipped_files(load(environment={}).alerts)
    assert {path.name for path in SHIPPED.iterdir()} == set(made)


def test_the_rule_file_is_yaml_that_prometheus_reads() -> None:
    """One group; each rule has the fields of an alerting rule, with the expression and the time of the table."""
    yaml: Any = pytest.importorskip("yaml")
    read = yaml.safe_load((SHIPPED / "onebook.rules.yml").read_text("utf-8"))
    (group,) = read["groups"]
    rules = rules_of(load(environment={}).alerts)
    assert group["name"] == "onebook"
    assert [(rule["alert"], rule["expr"], rule["annotations"], rule["labels"]) for rule in group["rules"]] == [
        (rule.name, rule.measure.promql(), {"summary": rule.summary}, {"severity": rule.severity}) for rule in rules
    ]
    assert all(re.fullmatch(r"\d+(s|ms)", rule["for"]) for rule in group["rules"])


def test_the_lag_alert_is_the_promised_one() -> None:
    """More than a second behind, for 30 seconds."""
    text = (SHIPPED / "onebook.rules.yml").read_text("utf-8")
    assert 'expr: "onebook_cdc_lag_seconds > 1"\n        for: 30s\n' in text


@pytest.mark.parametrize("name", ["onebook.rules.yml", "onebook.dashboard.json"])
def test_no_expression_asks_for_a_metric_that_nobody_reports(name: str, reported: set[str]) -> None:
    """A rule about a misspelt metric would never fire."""
    asked = set(re.findall(r"\bonebook_\w+", (SHIPPED / name).read_text("utf-8")))
    assert asked
    assert {re.sub(SUFFIXES + r"\Z", "", each) for each in asked} <= reported


def test_a_reading_asks_for_no_metric_that_nobody_reports(reported: set[str]) -> None:
    """The names in readings/pipeline.py, which imports no room, are those of the rooms."""
    named = {value for value in vars(pipeline).values() if isinstance(value, str) and value.startswith("onebook_")}
    assert {re.sub(SUFFIXES + r"\Z", "", each) for each in named} <= reported


def test_the_consumers_that_must_be_there_are_those_there_are() -> None:
    """Each handler's name is expected, so that a dead one is missed."""
    relay = importlib.import_module("onebook.relay.relay").RELAY
    webhooks = importlib.import_module("onebook.channels.handler").NAME
    view = importlib.import_module("onebook.views.view").AvailabilityView.name
    push = importlib.import_module("onebook.push.hub").Hub.name
    assert {relay, view, push, webhooks} == set(CONSUMERS)


def test_a_process_that_never_sets_a_gauge_does_not_set_it_to_zero(reported: set[str]) -> None:
    """A gauge without labels is 0 in each process that imports its module: the least of them would always be 0."""
    assert reported
    gauges = [gauge for gauge in set(REGISTRY._collector_to_names) if isinstance(gauge, Gauge)]
    assert [gauge._name for gauge in gauges if "min" in gauge._multiprocess_mode and not gauge._labelnames] == []


def test_panels_neither_overlap_nor_share_an_id() -> None:
    """Grafana's grid is 24 wide; parentheses of each expression are balanced."""
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in panels}) == len(panels)
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert all(each.count(left) == each.count(right) for each in expressions for left, right in ("()", "[]", "{}"))
    assert json.loads((SHIPPED / "onebook.dashboard.json").read_text("utf-8"))["title"] == "Onebook: the pipeline"
