//! Traces over OTLP: the steps of a classification, below the span of the Envoy that called.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set; then the other `OTEL_`
//! variables apply, too. Spans hold numbers and labels, never text. This uses OpenTelemetry's own API, because the times
//! of a span are only known once a worker is done with a whole batch.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use llm_router_classifier::model::prediction::Prediction;
use llm_router_classifier::steps::{Step, StepObserver};

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
const NAME: &str = "llm-router-sidecar";

/// The process's tracer; absent while traces are off.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The exporter. Shut it down to send the last spans.
pub struct Export(SdkTracerProvider);

/// Starts exporting if an endpoint is set. Needs a tokio runtime.
///
/// # Errors
/// If the endpoint is invalid.
pub fn start() -> Result<Option<Export>> {
    if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build().context("cannot export traces")?;
    // OTEL_SERVICE_NAME takes precedence.
    let resource = Resource::builder();
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource,
        None => resource.with_service_name(NAME),
    };
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    // Set once per process.
    let _ = TRACER.set(provider.tracer(NAME));
    Ok(Some(Export(provider)))
}

impl Export {
    /// Sends the remaining spans. Blocks.
    pub fn shut_down(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

/// The caller's span, from its headers `traceparent` and `tracestate` (W3C Trace Context).
pub fn parent<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Context> {
    TRACER.get()?;
    let headers = Headers { traceparent: header("traceparent"), tracestate: header("tracestate") };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    context.span().span_context().is_valid().then_some(context)
}

struct Headers<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Starts a span for the processing of a request's body.
#[must_use]
pub fn request(parent: Option<&Context>) -> Context {
    let none = Context::new();
    let Some(tracer) = TRACER.get() else { return none };
    let parent = parent.unwrap_or(&none);
    let attributes = [
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", llm_router_proto::SERVICE),
        KeyValue::new("rpc.method", llm_router_proto::METHOD),
    ];
    let span = SpanBuilder::from_name("request").with_kind(SpanKind::Server).with_attributes(attributes);
    parent.with_span(tracer.build_with_context(span, parent))
}

/// Records the steps of a classification as spans below the request's, if that is recorded.
#[must_use]
pub fn steps(request: &Context) -> Option<Arc<dyn StepObserver>> {
    if TRACER.get().is_none() || !request.span().is_recording() {
        return None;
    }
    Some(Arc::new(StepSpans(request.clone())))
}

struct StepSpans(Context);

impl StepObserver for StepSpans {
    fn finished(&self, step: Step, start: Instant, end: Instant) {
        let Some(tracer) = TRACER.get() else { return };
        let span = SpanBuilder::from_name(step.as_str()).with_start_time(at(start));
        tracer.build_with_context(span, &self.0).end_with_timestamp(at(end));
    }
}

/// Adds the prediction to the request's span.
pub fn classified(request: &Context, prediction: &Prediction) {
    let span = request.span();
    if !span.is_recording() {
        return;
    }
    let tokens = i64::try_from(prediction.read.tokens).unwrap_or(i64::MAX);
    span.set_attribute(KeyValue::new("gen_ai.operation.name", "classify"));
    span.set_attribute(KeyValue::new("gen_ai.usage.input_tokens", tokens));
    for scores in &prediction.scores {
        let name = format!("llm_router.{}", scores.head);
        match (scores.score, scores.top()) {
            (Some(score), _) => span.set_attribute(KeyValue::new(name, f64::from(score))),
            (None, Some((label, _))) => span.set_attribute(KeyValue::new(name, label.to_owned())),
            (None, None) => {}
        }
    }
}

/// Ends the request's span.
pub fn end<T>(request: &Context, answer: &Result<T, tonic::Status>) {
    let span = request.span();
    if let Err(status) = answer {
        span.set_status(Status::error(status.code().description()));
    }
    span.end();
}

/// Converts to the time of day, which spans need.
fn at(instant: Instant) -> SystemTime {
    SystemTime::now() - instant.elapsed()
}
