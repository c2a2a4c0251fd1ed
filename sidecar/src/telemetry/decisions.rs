//! Prometheus metrics of decisions, with the names and labels that our filter's stats have in Prometheus, so that one
//! dashboard shows both modes.

use llm_router_routing::config::Config;
use llm_router_routing::exchange::Event;
use llm_router_routing::metrics::{self, Kind, Metric, Series};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A metric by its labels.
type By<M> = Family<Vec<(&'static str, String)>, M>;

/// The metrics of decisions and their results.
pub struct Decisions {
    registry: Registry,
    metrics: Vec<(Metric, Numbers)>,
}

/// The storage of a metric's values.
enum Numbers {
    /// Has no labels, so it exists from the start.
    Single(Counter),
    Counters(By<Counter>),
    Histograms(By<Histogram>),
}

impl Default for Decisions {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("llm_router");
        let numbers = Metric::ALL.into_iter().map(|metric| (metric, register(metric, &mut registry)));
        Self { metrics: numbers.collect(), registry }
    }
}

fn register(metric: Metric, registry: &mut Registry) -> Numbers {
    let (name, help) = (metric.name(), metric.help());
    match metric.kind() {
        Kind::Counter if !metric.has_labels() => {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            Numbers::Single(counter)
        }
        Kind::Counter => {
            let family = By::<Counter>::default();
            registry.register(name, help, family.clone());
            Numbers::Counters(family)
        }
        Kind::Histogram => {
            let family = By::new_with_constructor(buckets(metric));
            registry.register(name, help, family.clone());
            Numbers::Histograms(family)
        }
    }
}

fn buckets(metric: Metric) -> fn() -> Histogram {
    match metric {
        // 10 ms to 164 s.
        Metric::TimeToFirstToken => || Histogram::new(exponential_buckets(10.0, 2.0, 15)),
        // 100 µs to 3.3 s.
        _ => || Histogram::new(exponential_buckets(100.0, 2.0, 16)),
    }
}

impl Decisions {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts what an event adds.
    pub fn record(&self, event: &Event<'_>, config: &Config) {
        metrics::measure(event, config, |series, value| {
            let numbers = self.metrics.iter().find(|(metric, _)| *metric == series.metric);
            match numbers.map(|(_, numbers)| numbers) {
                Some(Numbers::Single(counter)) => {
                    counter.inc_by(value);
                }
                Some(Numbers::Counters(family)) => {
                    family.get_or_create(&labels(series, config)).inc_by(value);
                }
                Some(Numbers::Histograms(family)) => {
                    family.get_or_create(&labels(series, config)).observe(value as f64);
                }
                None => {}
            }
        });
    }
}

/// The labels as `stats_tags` of our bootstraps name them.
fn labels(series: Series, config: &Config) -> Vec<(&'static str, String)> {
    let prometheus_name = |name| match name {
        "candidate" => "llm_candidate",
        "policy" => "llm_policy",
        "model" => "llm_model",
        "reason" => "llm_reason",
        "label" => "llm_label",
        "classifier" => "llm_classifier",
        "rule" => "llm_rule",
        other => other,
    };
    let labels = series.labels(config).into_iter();
    labels.map(|(name, value)| (prometheus_name(name), value.into_owned())).collect()
}
