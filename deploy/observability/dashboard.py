#!/usr/bin/env python3
"""Writes the Grafana dashboard from the description below: from deploy/observability, ./dashboard.py >dashboard.json"""

import json
import sys

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's grid.
COLUMNS = 24
# Excludes the clusters of sidecars, under our names and those of control planes, and the clusters of control planes.
LLMS = 'envoy_cluster_name!~".*llm-router-sidecar.*|.*/extproc/.*|admin_port_cluster|(prometheus|xds|wasm)[_-].*"'


def rate(metric, by, labels=""):
    return f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))"


def total_rate(metric):
    """Zero for what has never been counted."""
    return f"(sum(rate({metric}[$__rate_interval])) or vector(0))"


def unclassified():
    """The fraction of requests without a prediction. With `on_failure: reject`, these count only as rejected."""
    failed = total_rate('llm_router_calls_total{outcome="failed"}')
    rejected = total_rate('llm_router_rejected_total{code="classifier_unavailable"}')
    return f"{failed} / ({total_rate('llm_router_requests_total')} + {rejected})"


def quantiles(metric, unit, by="", labels=""):
    """Three lines, or two for each value of `by`. `unit` is how many of the metric's units make a second."""
    groups, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    for percent in (50, 95) if by else (50, 95, 99):
        value = f"histogram_quantile({percent / 100}, {rate(metric + '_bucket', groups, labels)})"
        yield value if unit == 1 else f"{value} / {unit}", f"{legend}p{percent}"


def agreement():
    """The fraction of a policy's requests for which its candidate would have chosen the same model."""
    all_requests = rate("llm_router_comparisons_total", "llm_policy, llm_model, llm_candidate")
    by_model = rate("llm_router_comparisons_total", "llm_policy, llm_model")
    same = f'label_replace({by_model}, "llm_candidate", "$1", "llm_model", "(.+)")'
    agreeing = f"sum by (llm_policy) ({all_requests} and {same})"
    return f"({agreeing} or 0 * sum by (llm_policy) ({all_requests})) / sum by (llm_policy) ({all_requests})"


def mean(metric):
    return f"sum(rate({metric}_sum[$__rate_interval])) / sum(rate({metric}_count[$__rate_interval]))"


def dollars(metric, by=""):
    """Dollars per hour. Averaged over an hour, because costs change slowly."""
    total = f"sum by ({by}) " if by else "sum"
    return f"{total}(rate({metric}_microdollars_total[1h])) * 3600 / 1e6"


def attempts(labels=""):
    """Attempts at each LLM. Envoy counts those that it retries apart from the responses that clients get."""
    return (
        f"sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq{{{labels}{LLMS}}}[$__rate_interval]) "
        f"or rate(envoy_cluster_upstream_rq_retry{{{LLMS}}}[$__rate_interval]))"
    )


FAILED = 'envoy_response_code=~"5..|429", '
COST, MAX_COST = "llm_router_cost", "llm_router_max_cost"
STICKY, SWITCH = "llm_router_sticky_cost", "llm_router_switch_cost"
COMPARED, CANDIDATE = "llm_router_compared_cost", "llm_router_candidate_cost"
SIDECAR = "llm_router_sidecar"
REJECTED = "envoy_extension_config_discovery_http_filter_llm_router_update_rejected"
RELOADS = "envoy_wasm_llm_router_vm_reload"


def stat(title, unit, *queries, about=""):
    return {"kind": "stat", "title": title, "unit": unit, "queries": queries, "about": about, "size": (4, 4)}


def lines(title, unit, *queries, about="", stacked=False):
    kind = "stacked" if stacked else "lines"
    return {"kind": kind, "title": title, "unit": unit, "queries": queries, "about": about, "size": (8, 8)}


ROWS = {
    "Now": [
        stat("Requests", "reqps", ("sum(rate(llm_router_requests_total[$__rate_interval]))", "")),
        stat(
            "Not classified",
            "percentunit",
            (unclassified(), ""),
            about="Without a prediction in time, requests get the policy's default model, or are rejected.",
        ),
        stat("Rejected", "reqps", ("sum(rate(llm_router_rejected_total[$__rate_interval])) or vector(0)", "")),
        stat("Cost per hour", "currencyUSD", (dollars(COST), ""), about="At the policy's prices."),
        stat(
            "Saved",
            "percentunit",
            (f"1 - sum(rate({COST}_microdollars_total[1h])) / sum(rate({MAX_COST}_microdollars_total[1h]))", ""),
            about="Fraction of what the same tokens would have cost on the most expensive model.",
        ),
        stat("Sidecars up", "short", ('sum(up{job="llm-router-sidecar"})', "")),
    ],
    "Decisions": [
        lines(
            "Requests by model",
            "reqps",
            (rate("llm_router_requests_total", "llm_model"), "{{llm_model}}"),
            stacked=True,
        ),
        lines(
            "Requests by policy",
            "reqps",
            (rate("llm_router_requests_total", "llm_policy"), "{{llm_policy}}"),
            about="`none`: the client or a rule named the model.",
            stacked=True,
        ),
        lines(
            "Requests by reason",
            "reqps",
            (rate("llm_router_requests_total", "llm_reason"), "{{llm_reason}}"),
            stacked=True,
        ),
        lines(
            "Requests by label",
            "reqps",
            (rate("llm_router_labels_total", "llm_policy, llm_label"), "{{llm_policy}}: {{llm_label}}"),
            about="The predicted label. `unrouted`: the policy has no route for it.",
            stacked=True,
        ),
        lines(
            "Rejected, by error code", "reqps", (rate("llm_router_rejected_total", "code"), "{{code}}"), stacked=True
        ),
        lines(
            "Not classified, and failovers",
            "percentunit",
            (unclassified(), "not classified"),
            (
                f"{rate('llm_router_failovers_total', 'llm_model')} / {rate('llm_router_requests_total', 'llm_model')}",
                "{{llm_model}} failed over",
            ),
        ),
    ],
    "Time that routing adds": [
        lines(
            "Call to the sidecar, measured by Envoy", "s", *quantiles("llm_router_call_duration_microseconds", "1e6")
        ),
        lines("Classification, measured by the sidecar", "s", *quantiles(f"{SIDECAR}_request_duration_seconds", 1)),
        lines(
            "Parts of a classification, average",
            "s",
            *((mean(f"{SIDECAR}_{part}_duration_seconds"), part) for part in ("tokenize", "queue", "inference")),
            stacked=True,
        ),
        lines(
            "Cache hits",
            "percentunit",
            (
                (
                    "(sum(rate(llm_router_cache_hits_total[$__rate_interval])) or vector(0)) / (sum(rate("
                    "llm_router_cache_hits_total[$__rate_interval])) + sum(rate(llm_router_cache_misses_total"
                    "[$__rate_interval])))"
                ),
                "hits",
            ),
            about="Fraction of the prompts that needed a classification.",
        ),
    ],
    "Tokens and money": [
        lines(
            "Tokens by model",
            "short",
            (rate("llm_router_input_tokens_total", "llm_model"), "{{llm_model}} in"),
            (rate("llm_router_output_tokens_total", "llm_model"), "{{llm_model}} out"),
            stacked=True,
            about="Tokens per second that the LLMs report.",
        ),
        lines("Cost per hour, by model", "currencyUSD", (dollars(COST, "llm_model"), "{{llm_model}}"), stacked=True),
        lines(
            "Cost per hour, and on the most expensive model",
            "currencyUSD",
            (dollars(COST), "with routing"),
            (dollars(MAX_COST), "all requests on the most expensive model"),
            (f"{dollars(MAX_COST)} - {dollars(COST)}", "saved"),
        ),
        lines(
            "Cost per hour of sticky conversations",
            "currencyUSD",
            (f"{dollars(STICKY)} or vector(0)", "with the conversation's model"),
            (f"{dollars(SWITCH)} or vector(0)", "with the last message's model, nothing cached"),
            about="Requests that kept their conversation's model where the last message alone would have got another.",
        ),
    ],
    "Candidate policies": [
        lines(
            "Agreement of the candidate with its policy",
            "percentunit",
            (agreement(), "{{llm_policy}}"),
            about="Fraction of requests for which the policy's candidate would have chosen the same model.",
        ),
        lines(
            "Requests by model, live and with the candidate",
            "reqps",
            (rate("llm_router_comparisons_total", "llm_policy, llm_model"), "{{llm_policy}} live: {{llm_model}}"),
            (rate("llm_router_comparisons_total", "llm_policy, llm_candidate"), "candidate: {{llm_candidate}}"),
            about="`none`: the candidate had no prediction, or would have rejected the request.",
        ),
        lines(
            "Cost per hour, live and with the candidate",
            "currencyUSD",
            (dollars(COMPARED, "llm_policy, llm_model"), "{{llm_policy}} live: {{llm_model}}"),
            (dollars(CANDIDATE, "llm_policy, llm_model"), "candidate: {{llm_model}}"),
            about="Cost of the same requests, with the tokens of the live model, at the policy's prices.",
        ),
    ],
    "LLMs": [
        lines(
            "Time to first token",
            "s",
            *quantiles("llm_router_time_to_first_token_milliseconds", "1e3", "llm_model"),
            about="Streamed responses only.",
        ),
        lines(
            "Time of a whole response",
            "s",
            *quantiles("envoy_cluster_upstream_rq_time", "1e3", "envoy_cluster_name", f"{{{LLMS}}}"),
        ),
        lines(
            "Errors",
            "percentunit",
            (f"{attempts(FAILED)} / {attempts()}", "{{envoy_cluster_name}}"),
            about="5xx, 429, and attempts that were retried, at the same LLM or another.",
        ),
    ],
    "Sidecars": [
        lines(
            "Classifications by outcome",
            "reqps",
            (rate(f"{SIDECAR}_requests_total", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines("Texts in the queue", "short", (f"{SIDECAR}_queue_depth", "{{instance}}")),
        lines(
            "Time in the queue, p99",
            "s",
            (
                f"histogram_quantile(0.99, {rate(SIDECAR + '_queue_duration_seconds_bucket', 'le, instance')})",
                "{{instance}}",
            ),
        ),
        lines(
            "Not classified, by outcome",
            "reqps",
            (
                rate(
                    f"{SIDECAR}_requests_total",
                    "instance, outcome",
                    '{outcome=~"overloaded|deadline_exceeded|cancelled"}',
                ),
                "{{instance}} {{outcome}}",
            ),
        ),
        lines(
            "Texts per batch, average",
            "short",
            (
                (
                    f"sum by (instance) (rate({SIDECAR}_batch_size_sum[$__rate_interval])) / "
                    f"sum by (instance) (rate({SIDECAR}_batch_size_count[$__rate_interval]))"
                ),
                "{{instance}}",
            ),
        ),
        lines(
            "Padding, fraction of all tokens",
            "percentunit",
            (
                (
                    f"sum(rate({SIDECAR}_padding_tokens_total[$__rate_interval])) / "
                    f"(sum(rate({SIDECAR}_padding_tokens_total[$__rate_interval])) + "
                    f"sum(rate({SIDECAR}_tokens_total[$__rate_interval])))"
                ),
                "padding",
            ),
        ),
    ],
    "The filter and its configuration": [
        lines(
            "Rejected configurations",
            "short",
            (f"increase({REJECTED}[$__rate_interval])", "{{instance}} policy"),
            ("increase(envoy_listener_manager_lds_update_rejected[$__rate_interval])", "{{instance}} listeners"),
            (
                f'sum by (instance, what) (increase({SIDECAR}_reloads_total{{outcome="rejected"}}[$__rate_interval]))',
                "{{instance}} {{what}}",
            ),
        ),
        lines(
            "Wasm VMs restarted after a crash",
            "short",
            (f"increase({RELOADS}_success[$__rate_interval])", "{{instance}}"),
            (f"increase({RELOADS}_failure[$__rate_interval])", "{{instance}} failed"),
        ),
        lines("Memory of bodies in the sidecars", "bytes", (f"{SIDECAR}_body_bytes", "{{instance}}")),
    ],
}


def panel(number, spec, x, y):
    is_stat, (width, height) = spec["kind"] == "stat", spec["size"]
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": expr,
            "legendFormat": legend,
            "instant": is_stat,
            "range": not is_stat,
        }
        for place, (expr, legend) in enumerate(spec["queries"])
    ]
    custom = {"fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}} if spec["kind"] == "stacked" else {}
    options = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"}
        if is_stat
        else {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    )
    return {
        "id": number,
        "type": "stat" if is_stat else "timeseries",
        "title": spec["title"],
        "description": spec["about"],
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": {"unit": spec["unit"], "min": 0, "custom": custom}, "overrides": []},
    }


def panels():
    found, y = [], 0
    for title, specs in ROWS.items():
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )
        x, y = 0, y + 1
        for spec in specs:
            width, height = spec["size"]
            if x + width > COLUMNS:
                x, y = 0, y + height
            found.append(panel(len(found) + 1, spec, x, y))
            x += width
        y += height
    return found


def dashboard():
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0}
    return {
        "uid": "llm-router",
        "title": "LLM router",
        "tags": ["llm-router"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source]},
        "annotations": {"list": []},
        "panels": panels(),
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    print()
