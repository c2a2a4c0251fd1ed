//! The pods of `k8s/overlays/envoy`: their files, which the kubelet mounts and changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use llm_router_test_support::artifacts::FILTER;
use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;
use crate::refusing_address;

const POLICY: &str = "/resources/0/typed_config/config/configuration/value";

/// A pod with our own Envoy.
#[derive(Debug)]
pub struct Pod {
    folder: PathBuf,
    envoy: Value,
}

impl Pod {
    /// A pod with the overlay's own files in place of those of `k8s/overlays/envoy`. `change` adapts the sidecars' cluster.
    #[must_use]
    pub fn new(overlay: &str, change: impl FnOnce(&mut Value)) -> Self {
        let _ = crate::fresh(&FILTER);
        let folder = crate::scratch_file("pod", "d");
        let _ = std::fs::remove_dir_all(&folder);
        let pod = Self { envoy: objects("overlays/envoy/bootstrap.yaml").remove(0), folder };
        let mut sidecar = objects(&format!("overlays/{overlay}/sidecar.yaml")).remove(0);
        change(&mut sidecar["resources"][0]);
        pod.put("envoy", "sidecar.yaml", &sidecar);
        pod.policy(|_| {});
        pod
    }

    /// Makes Envoy find its files, listen on loopback, and reach the clusters at these addresses.
    #[must_use]
    pub fn bootstrap(&self, clusters: &[(&str, SocketAddr)], authority: &Path) -> Bootstrap {
        let mut text = self.envoy.to_string();
        for folder in ["envoy", "llm-router", "llm-keys"] {
            let here = self.folder.join(folder);
            text = text.replace(&format!("/etc/{folder}"), &here.to_string_lossy());
        }
        text = text.replace("/etc/ssl/certs/ca-certificates.crt", &authority.to_string_lossy());
        let mut envoy: Value = serde_json::from_str(&text).expect("a bootstrap");
        envoy["admin"]["address"]["socket_address"]["port_value"] = json!(0);
        for listener in envoy["static_resources"]["listeners"].as_array_mut().expect("listeners") {
            listener["address"] = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        }
        for cluster in envoy["static_resources"]["clusters"].as_array_mut().expect("clusters") {
            // Envoy's own admin interface, for probes and Prometheus. No test uses it through this cluster.
            let admin = ("admin", refusing_address());
            let served = clusters.iter().chain([&admin]).find(|(name, _)| cluster["name"] == *name);
            send_to(cluster, served.expect("an address").1);
        }
        Bootstrap::from_pod(envoy)
    }

    /// Changes the overlay's policy, as a new ConfigMap does.
    pub fn policy(&self, change: impl FnOnce(&mut Value)) {
        let mut found = objects("overlays/envoy/policy.yaml").remove(0);
        *found.pointer_mut("/resources/0/typed_config/config/vm_config/code").expect("the module") =
            json!({ "local": { "filename": FILTER.path } });
        change(found.pointer_mut(POLICY).expect("a policy"));
        self.put("llm-router", "policy.yaml", &found);
    }

    /// Puts a key into the Secret.
    pub fn key(&self, name: &str, value: &str) {
        self.put("llm-keys", &format!("{name}.yaml"), &secret(&json!(name), value));
    }

    /// Replaces a file as the kubelet does: files are links into `..data`, which is a link to the folder of the current version.
    fn put(&self, volume: &str, file: &str, content: &Value) {
        let volume = self.folder.join(volume);
        let number = (0..).find(|it| !volume.join(format!("..{it}")).exists()).expect("a new name");
        let new = format!("..{number}");
        std::fs::create_dir_all(volume.join(&new)).expect("a folder");
        std::fs::write(volume.join(&new).join(file), content.to_string()).expect("a file");
        let link = volume.join("..data_tmp");
        std::os::unix::fs::symlink(&new, &link).expect("a link");
        std::fs::rename(&link, volume.join("..data")).expect("the link in its place");
        let name = volume.join(file);
        if !name.exists() {
            std::os::unix::fs::symlink(Path::new("..data").join(file), name).expect("a link");
        }
    }
}

/// A secret as Envoy's secret discovery reads it from a file.
fn secret(name: &Value, value: &str) -> Value {
    json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name, "generic_secret": { "secret": { "inline_string": value } },
    }] })
}

/// Sends a cluster's requests to this address, whatever DNS says.
pub fn send_to(cluster: &mut Value, address: SocketAddr) {
    let fields = cluster.as_object_mut().expect("a cluster");
    fields.remove("dns_refresh_rate");
    fields.insert("type".to_owned(), json!("STATIC"));
    let address = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
        address;
}

/// The objects in a file of `k8s/`.
fn objects(file: &str) -> Vec<Value> {
    let path = crate::repository().join("k8s").join(file);
    let yaml = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
