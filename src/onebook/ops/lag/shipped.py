"""The files for a Prometheus and a Grafana of your own, made from the rules and the metrics' names.

`python -m onebook.ops.lag.shipped FOLDER` writes them, with the limits of the present settings. Those with the default limits lie
in docs/monitoring, and a test compares.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from onebook.config import AlertSettings, load
from onebook.ops.lag.dashboard import dashboard
from onebook.ops.lag.measures import duration
from onebook.ops.lag.rules import Rule, rules_of

HEAD = """\
# Onebook's alerts for Prometheus: the rules by which Onebook itself tells alerts.url and the log.
# Made by `python -m onebook.ops.lag.shipped FOLDER`, with the limits of your settings. Scrape /metrics each 15 s or oftener.
groups:
  - name: onebook
    rules:
"""


def shipped_files(settings: AlertSettings) -> Mapping[str, str]:
    """Text by file name."""
    return {
        "onebook.rules.yml": prometheus_rules(rules_of(settings)),
        "onebook.dashboard.json": json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n",
    }


def prometheus_rules(rules: Sequence[Rule]) -> str:
    """The rule file. Texts are quoted as in JSON, which YAML reads the same."""
    return HEAD + "".join(_entry(rule) for rule in rules)


def _entry(rule: Rule) -> str:
    return (
        f"      - alert: {rule.name}\n"
        f"        expr: {_quoted(rule.measure.promql())}\n"
        f"        for: {duration(rule.for_seconds)}\n"
        f"        labels:\n"
        f"          severity: {rule.severity}\n"
        f"        annotations:\n"
        f"          summary: {_quoted(rule.summary)}\n"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    for name, text in shipped_files(load().alerts).items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
