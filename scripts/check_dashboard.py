"""Checks deploy/observability/dashboard.json without Grafana: each panel is complete, and none covers another."""

import itertools
import json

from processes import REPO, DemoError

OBSERVABILITY = REPO / "deploy/observability"
KINDS = {"row", "stat", "timeseries"}
# The Grafana units that the dashboard uses.
UNITS = {"reqps", "percentunit", "currencyUSD", "short", "s", "bytes"}
COLUMNS = 24


def dashboard():
    return json.loads((OBSERVABILITY / "dashboard.json").read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries():
    """Each panel's title with each of its queries."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def problems():
    everything = dashboard()["panels"]
    if len({panel["id"] for panel in everything}) != len(everything):
        yield "two panels have the same id"
    if len({panel["title"] for panel in everything}) != len(everything):
        yield "two panels have the same title"
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    for panel in everything:
        title, place = panel["title"], panel["gridPos"]
        if panel["type"] not in KINDS:
            yield f"{title}: type {panel['type']}"
        if not (place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS and place["w"] > 0 and place["h"] > 0):
            yield f"{title}: outside of the grid"
    for panel in panels():
        title = panel["title"]
        if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
            yield f"{title}: no unit"
        references = [target["refId"] for target in panel["targets"]]
        if not references or len(set(references)) != len(references):
            yield f"{title}: no queries, or two of one name"
        sources = [panel["datasource"]] + [target["datasource"] for target in panel["targets"]]
        if any(source["uid"].strip("${}") not in variables for source in sources):
            yield f"{title}: a data source that is not the dashboard's variable"
    for one, other in itertools.combinations(everything, 2):
        if overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']} covers {other['title']}"


def overlap(a, b):
    apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    return not apart and not (a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])


def check_layout():
    if found := list(problems()):
        raise DemoError("\n".join(found))
