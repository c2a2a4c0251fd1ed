"""Fails unless the PodMonitors of gateways relabel metrics as Prometheus' own configuration does.

usage: k8s_relabelings.py PROMETHEUS_YML RENDERED_YAML
"""

import pathlib
import sys

import yaml

CAMEL_CASE = {"source_labels": "sourceLabels", "target_label": "targetLabel"}

prometheus, rendered = (pathlib.Path(path).read_text("utf-8") for path in sys.argv[1:])
jobs = {job["job_name"]: job for job in yaml.safe_load(prometheus)["scrape_configs"]}
expected = [
    {CAMEL_CASE.get(key, key): value for key, value in rule.items()} for rule in jobs["envoy"]["metric_relabel_configs"]
]
monitors = [it for it in yaml.safe_load_all(rendered) if it and it["kind"] == "PodMonitor"]
gateways = [it for it in monitors if "gateway" in it["metadata"]["name"]]
if not gateways:
    sys.exit("no PodMonitor of a gateway")
for monitor in gateways:
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        if endpoint["metricRelabelings"] != expected:
            sys.exit(
                f"{monitor['metadata']['name']}: metricRelabelings are not those of deploy/observability/prometheus.yml"
            )
