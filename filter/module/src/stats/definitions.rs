//! The ids of our metrics in Envoy.
#![allow(unsafe_code)]

use llm_router_routing::metrics::{Kind, Metric};

use crate::abi::{self, Buffer, ConfigPtr, SUCCESS};

/// All metrics. Envoy accepts definitions only while the configuration is created.
#[derive(Debug)]
pub(super) struct Definitions(Vec<(Metric, usize)>);

impl Definitions {
    /// # Safety
    /// In `config_new` only, with the pointer that Envoy passed to it.
    pub(super) unsafe fn new(config: ConfigPtr) -> Self {
        // SAFETY: as above.
        let define = |metric: &Metric| Some((*metric, unsafe { define(config, *metric) }?));
        Self(Metric::ALL.iter().filter_map(define).collect())
    }

    pub(super) fn id(&self, metric: Metric) -> Option<usize> {
        self.0.iter().find_map(|(it, id)| (*it == metric).then_some(*id))
    }
}

/// # Safety
/// As [`Definitions::new`].
unsafe fn define(config: ConfigPtr, metric: Metric) -> Option<usize> {
    let (name, labels) = (name(metric), labels(metric));
    let labels: Vec<_> = labels.iter().map(|label| Buffer::new(label.as_bytes())).collect();
    let (name, mut id) = (Buffer::new(name.as_bytes()), 0);
    // SAFETY: the configuration lives; Envoy copies name and labels.
    let result = unsafe {
        match metric.kind() {
            Kind::Counter => abi::envoy_dynamic_module_callback_http_filter_config_define_counter(
                config,
                name,
                labels.as_ptr(),
                labels.len(),
                &raw mut id,
            ),
            Kind::Histogram => abi::envoy_dynamic_module_callback_http_filter_config_define_histogram(
                config,
                name,
                labels.as_ptr(),
                labels.len(),
                &raw mut id,
            ),
        }
    };
    (result == SUCCESS).then_some(id)
}

/// The name in Prometheus, after Envoy's prefix.
fn name(metric: Metric) -> String {
    let suffix = if metric.kind() == Kind::Counter { "_total" } else { "" };
    format!("llm_router_{}{suffix}", metric.name())
}

/// The names of the labels, as the Wasm filter's `stats_tags` make them.
fn labels(metric: Metric) -> Vec<String> {
    metric.label_names().iter().map(|name| exposed(name)).collect()
}

/// The label in Prometheus. A prefix distinguishes names that are too general, or that Envoy's own labels have.
fn exposed(name: &str) -> String {
    match name {
        "candidate" | "classifier" | "label" | "model" | "policy" | "reason" | "rule" => {
            format!("llm_{name}")
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_of_the_wasm_filter() {
        assert_eq!(name(Metric::Requests), "llm_router_requests_total");
        assert_eq!(labels(Metric::Requests), ["llm_policy", "llm_model", "llm_reason"]);
        assert_eq!(name(Metric::CallDuration), "llm_router_call_duration_microseconds");
        assert_eq!(labels(Metric::Calls), ["llm_classifier", "outcome"]);
        assert_eq!(labels(Metric::Comparisons), ["llm_policy", "llm_model", "llm_candidate"]);
        assert_eq!(labels(Metric::Rules), ["llm_rule", "mode"]);
        assert!(labels(Metric::CacheHits).is_empty());
    }
}
