"""InferencePools under Istio: the objects that istiod and Kubernetes create for them, and endpoint pickers."""

import hashlib

import rendering
import world

PICKER_ADDRESSES = {"llama-8b": "127.0.0.31", "llama-70b": "127.0.0.32"}
PICKER_PORT = 9002
PODS_PORT = 54321
"""The port of the Service that istiod creates for a pool."""
CONTROLLER = "istio.io/gateway-controller"


def with_status(route: rendering.Object) -> rendering.Object:
    """Adds the status that istiod writes, and in which it looks for a pool's gateways."""
    conditions = [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}]
    times = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    parents = [
        {"parentRef": parent, "controllerName": CONTROLLER, "conditions": [it | times for it in conditions]}
        for parent in route["spec"]["parentRefs"]
    ]
    return route | {"status": {"parents": parents}}


def around(objects: list[rendering.Object]) -> list[rendering.Object]:
    """The pools, the Services that istiod creates for them, and those of the endpoint pickers."""
    found = []
    for pool in rendering.of_kind(objects, "InferencePool"):
        name, spec = pool["metadata"]["name"], rendering.copied(pool["spec"])
        picker = spec["endpointPickerRef"] = {"group": "", "kind": "Service"} | spec["endpointPickerRef"]
        found.append(pool | {"spec": spec})
        labels = {
            "internal.istio.io/service-semantics": "inferencepool",
            "istio.io/inferencepool-name": name,
            "istio.io/inferencepool-extension-service": picker["name"],
            "istio.io/inferencepool-extension-port": str(picker["port"]["number"]),
            "istio.io/inferencepool-extension-failure-mode": picker["failureMode"],
        }
        target = spec["targetPorts"][0]["number"]
        port = {"name": "http-0", "port": PODS_PORT, "targetPort": target, "protocol": "TCP"}
        found += _service(_pods(name), port, world.ADDRESSES[name], labels)
        port = {"name": "grpc", "port": picker["port"]["number"], "targetPort": PICKER_PORT, "protocol": "TCP"}
        found += _service(picker["name"], port, PICKER_ADDRESSES[name], {})
    return found


def cluster(pool: str) -> str:
    """The name of Envoy's cluster for a pool."""
    return f"outbound|{PODS_PORT}||{_pods(pool)}.{rendering.NAMESPACE}.svc.cluster.local"


def _pods(pool: str) -> str:
    """The name of the Service that istiod creates for a pool."""
    return f"{pool}-ip-{hashlib.sha256(pool.encode()).hexdigest()[:8]}"


def _service(name: str, port: dict, address: str, labels: dict[str, str]) -> list[rendering.Object]:
    own = {"namespace": rendering.NAMESPACE}
    slice_port = {"name": port["name"], "port": port["targetPort"], "protocol": "TCP"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels, **own},
            "spec": {"clusterIP": "None", "ports": [port]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}, **own},
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [slice_port],
        },
    ]


def arguments() -> list[str]:
    """The arguments of istio-discovery, which serves the pickers."""
    found = [f"-certificate={world.WORK / 'provider.pem'}", f"-key={world.WORK / 'provider.key'}"]
    for name, address in PICKER_ADDRESSES.items():
        found.append(f"-picker={address}:{PICKER_PORT}={world.ADDRESSES[name]}:{world.LLM_PORT}")
    return found
