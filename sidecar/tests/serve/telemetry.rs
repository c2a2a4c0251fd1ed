//! Traces, logs and metrics of a classification: all are complete, and none contains the prompt.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::calls::{classify, classify_traced, route};
use crate::sidecar::{Sidecar, minilm};

/// Keeps the spans that it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts it; returns its URL, too.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", incoming.local_addr().unwrap());
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let scopes = requests.iter().flat_map(|it| &it.resource_spans).flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found.as_slice() else { panic!("{} spans {name} in {spans:?}", found.len()) };
    span
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_requests_spans_are_below_the_callers_and_show_what_it_waited_for() {
    let (collector, url) = Collector::start().await;
    let model = minilm();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    let arguments = ["--model", model.to_str().unwrap()];
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &environment).await;
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    classify_traced(sidecar.connect().await, &format!("00-{trace}-{caller}-01")).await.unwrap();
    // The caller does not sample this call, so the sidecar does not either.
    classify_traced(sidecar.connect().await, &format!("00-{trace}-{caller}-00")).await.unwrap();
    sidecar.process.signal("TERM");
    assert!(sidecar.process.ended().await.success(), "{}", sidecar.log());

    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:?}");
    let request = named(&spans, "request");
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (trace.to_owned(), caller.to_owned()));
    let steps = ["tokenize", "queue", "infer"].map(|name| named(&spans, name));
    for step in steps {
        assert_eq!((&step.trace_id, &step.parent_span_id), (&request.trace_id, &request.span_id));
        assert!(step.start_time_unix_nano <= step.end_time_unix_nano);
    }
    let keys: Vec<_> = request.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    for key in ["rpc.service", "gen_ai.operation.name", "gen_ai.usage.input_tokens", "llm_router.task"] {
        assert!(keys.contains(&key), "no {key} in {keys:?}");
    }
    let everything = format!("{:?}", collector.0.lock().unwrap());
    assert!(everything.contains("llm-router-sidecar"), "the service's name");
    assert!(!everything.contains("sorted lists"), "a span has the prompt");
}

#[tokio::test]
async fn neither_logs_nor_metrics_ever_have_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                  policies: {p: {classifier: task, routes: {}, default: m}}\n";
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap(), "--policy", "policy.yaml", "--queue", "1"];
    // Everything that we log ourselves, however small.
    let filter = [("RUST_LOG", "info,llm_router_sidecar=trace,llm_router_routing=trace".to_owned())];
    let sidecar = Sidecar::start(folder, &arguments, &filter).await;
    let client = sidecar.connect().await;
    let calls: Vec<_> = (0..16).map(|_| tokio::spawn(classify(client.clone()))).collect();
    for call in calls {
        // Some are rejected, which is also logged.
        let _ = call.await.unwrap();
    }
    route(client).await.unwrap();

    let metrics = sidecar.metrics().await;
    for text in [sidecar.log(), metrics.clone()] {
        assert!(!text.contains("sorted") && !text.contains("Python"), "{text}");
    }
    for name in documented_metrics() {
        assert!(
            metrics.contains(&format!("# TYPE {name} ")),
            "docs/sidecar.md has {name}, but not {metrics}"
        );
    }
    for line in metrics.lines() {
        if let Some(name) = line.strip_prefix("# TYPE llm_router_sidecar_") {
            let name = format!("llm_router_sidecar_{}", name.split(' ').next().unwrap());
            assert!(documented_metrics().contains(&name), "docs/sidecar.md lacks {name}");
        }
    }
}

/// Names in the first column of the page's table of metrics, as `# TYPE` lines have them.
fn documented_metrics() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sidecar.md");
    let page = std::fs::read_to_string(page).unwrap();
    let names = page.lines().filter_map(|line| line.strip_prefix("| `llm_router_sidecar_"));
    names
        .map(|rest| {
            let name = rest.split(['`', '{']).next().unwrap();
            let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name);
            format!("llm_router_sidecar_{name}")
        })
        .collect()
}
