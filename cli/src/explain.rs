//! `explain`: prints where a request would go, and every step that leads there.
//!
//! The request takes the way that it takes in Envoy, through the same `Exchange`. No classifier runs: its prediction is
//! given by flags.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use llm_router_routing::classification::{Classification, Label, Prediction, Score};
use llm_router_routing::config::{Classifier, Config};
use llm_router_routing::context::{Attribute, AttributeKind, ContextKeys, RequestContext, Scalar};
use llm_router_routing::documents;
use llm_router_routing::explain::{BodyValues, Explainer, Explanation};
use llm_router_routing::headers::Headers;
use serde_json::{Value, json};

use crate::policy_file;

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A file with one policy: alone, in an Envoy bootstrap or in a Kubernetes manifest.
    policy: PathBuf,
    /// The JSON body of the request; `-` is standard input.
    request: PathBuf,
    /// The path of the request.
    #[arg(long, default_value = "/v1/chat/completions", value_name = "PATH")]
    path: String,
    /// A header of the request; can be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// An attribute of the request in Envoy, such as `xds.route_name=llms`; can be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(Attribute, Scalar)>,
    /// The dynamic metadata of a namespace in Envoy, as JSON, such as `envoy.filters.http.jwt_authn={"payload": {"tenant": "acme"}}`;
    /// can be repeated.
    #[arg(long = "metadata", value_name = "NAMESPACE=JSON", value_parser = metadata)]
    metadata: Vec<(String, Value)>,
    /// The label that the classifier predicts.
    #[arg(long, conflicts_with = "score")]
    label: Option<String>,
    /// The confidence of the label, from 0 to 1.
    #[arg(long, default_value_t = 1.0, requires = "label")]
    confidence: f32,
    /// The score that the classifier predicts, from 0 to 1.
    #[arg(long)]
    score: Option<f32>,
    /// A dimension of the score, from 0 to 1; can be repeated.
    #[arg(long = "dimension", value_name = "NAME=SCORE", value_parser = dimension, requires = "score")]
    dimensions: Vec<(String, f32)>,
    /// The prediction of one head, if the policy uses several: a label, optionally with a colon and its confidence, or a
    /// score; can be repeated.
    #[arg(long = "head", value_name = "NAME=LABEL[:CONFIDENCE]|SCORE", value_parser = head)]
    heads: Vec<(String, Classification)>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Explains one request. A request that the router rejects is explained, too; it is not an error.
///
/// # Errors
/// If a file cannot be read or has no valid policy, or a flag is not a valid prediction.
pub(crate) fn run(args: &ExplainArgs) -> Result<()> {
    let config = documents::parse_one(&policy_file::read(&args.policy)?)
        .with_context(|| args.policy.display().to_string())?;
    let body = policy_file::read(&args.request)?;
    let predictions = Predictions { heads: &args.heads, any: args.prediction()? };
    let context = args.context(&config.context_keys);
    let explanation = explain(config, args.request_headers(), context, &body, &predictions);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&to_json(&explanation))?),
        false => print!("{explanation}"),
    }
    Ok(())
}

impl ExplainArgs {
    fn request_headers(&self) -> Headers {
        let own = [(":method", "POST"), (":path", self.path.as_str())];
        let given = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.into_iter().chain(given).collect()
    }

    /// The given attributes and metadata that the policy's conditions read.
    fn context(&self, keys: &ContextKeys) -> RequestContext {
        let mut context = RequestContext::default();
        for (attribute, value) in &self.attributes {
            context.set_attribute(*attribute, value.clone());
        }
        for key in &keys.metadata {
            let of_namespace = self.metadata.iter().find(|(namespace, _)| *namespace == key.namespace);
            if let Some((_, metadata)) = of_namespace {
                context.set_metadata(key, key.in_json(metadata));
            }
        }
        context
    }

    fn prediction(&self) -> Result<Option<Classification>> {
        if let Some(label) = &self.label {
            let label = Label::new(label, self.confidence).context("--label, --confidence")?;
            return Ok(Some(Classification::Label(label)));
        }
        let Some(score) = self.score else { return Ok(None) };
        let dimensions = self.dimensions.iter().map(|(name, score)| (name.as_str(), *score));
        let score = Score::new(score, dimensions).context("--score")?;
        Ok(Some(Classification::Score(score)))
    }
}

/// What classifiers predict.
struct Predictions<'a> {
    heads: &'a [(String, Classification)],
    /// The prediction of heads without a name of their own in the options.
    any: Option<Classification>,
}

impl Predictions<'_> {
    /// The given predictions of these classifiers.
    fn of(&self, classifiers: &[Classifier]) -> Vec<(String, Prediction)> {
        let of = |classifier: &Classifier| {
            let name = classifier.as_str();
            let named =
                self.heads.iter().find(|(head, _)| head == name).map(|(_, classification)| classification);
            let classification = named.or(self.any.as_ref())?.clone();
            let number = match &classification {
                Classification::Label(label) => Some((label.name().to_owned(), label.confidence())),
                Classification::Score(score) => {
                    score.highest().map(|highest| (highest.name().to_owned(), highest.confidence()))
                }
            };
            Some((name.to_owned(), Prediction::new(classification, number)))
        };
        classifiers.iter().filter_map(of).collect()
    }
}

/// Processes the request as in Envoy.
fn explain(
    config: Config,
    headers: Headers,
    context: RequestContext,
    body: &str,
    predictions: &Predictions<'_>,
) -> Explanation {
    let explainer = Explainer::new(config, BodyValues::Shown);
    let mut request = explainer.start(headers, context, body.as_bytes());
    while let Some(query) = request.query() {
        let given = predictions.of(query.classifiers);
        let missing = query.missing(&given);
        if !missing.is_empty() {
            let names = missing.join(", ");
            let text = format!(
                "no prediction for {names}, so the classifier counts as unavailable; pass one with --label, --score or --head"
            );
            request.note("classifier", text);
        }
        request.predicted(given);
    }
    request.finish()
}

fn header(text: &str) -> Result<(String, String)> {
    let Some((name, value)) = text.split_once(':') else { bail!("expected NAME: VALUE") };
    ensure!(!name.trim().is_empty(), "the header has no name");
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// `xds.route_name=llms`, `source.port=443`, `connection.mtls=true`.
fn attribute(text: &str) -> Result<(Attribute, Scalar)> {
    let Some((name, value)) = text.split_once('=') else { bail!("expected NAME=VALUE") };
    let Some(attribute) = Attribute::from_name(name) else {
        let known: Vec<_> = Attribute::ALL.iter().map(|attribute| attribute.as_str()).collect();
        bail!("unknown attribute {name:?}; supported: {}", known.join(", "));
    };
    let value = match attribute.kind() {
        AttributeKind::Text | AttributeKind::Address => Scalar::Text(value.to_owned()),
        AttributeKind::Port => {
            Scalar::Number(value.parse::<u16>().context("the port must be a number from 0 to 65535")?.into())
        }
        AttributeKind::Flag => Scalar::Flag(value.parse().context("the value must be true or false")?),
    };
    Ok((attribute, value))
}

/// `envoy.filters.http.jwt_authn={"payload": {"tenant": "acme"}}`.
fn metadata(text: &str) -> Result<(String, Value)> {
    let Some((namespace, json)) = text.split_once('=') else { bail!("expected NAMESPACE=JSON") };
    let value: Value = serde_json::from_str(json)?;
    ensure!(value.is_object(), "the metadata of a namespace must be a JSON object");
    Ok((namespace.to_owned(), value))
}

fn dimension(text: &str) -> Result<(String, f32)> {
    let Some((name, score)) = text.split_once('=') else { bail!("expected NAME=SCORE") };
    Ok((name.to_owned(), score.parse().context("the score is not a number")?))
}

/// `safety=benign:0.98`, `complexity=0.7`.
fn head(text: &str) -> Result<(String, Classification)> {
    let Some((name, prediction)) = text.split_once('=') else { bail!("expected NAME=LABEL or NAME=SCORE") };
    if let Ok(score) = prediction.parse() {
        return Ok((name.to_owned(), Classification::Score(Score::new(score, [])?)));
    }
    let (label, confidence) = match prediction.rsplit_once(':') {
        Some((label, confidence)) => (label, confidence.parse().context("the confidence is not a number")?),
        None => (prediction, 1.0),
    };
    Ok((name.to_owned(), Classification::Label(Label::new(label, confidence)?)))
}

fn to_json(explanation: &Explanation) -> Value {
    let steps = explanation.steps().iter().map(|step| json!({"step": step.topic, "text": step.text}));
    json!({"steps": steps.collect::<Vec<_>>(), "outcome": explanation.outcome()})
}
