//! Resolves the classifier of a policy: a head, or the few-shot examples of its routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ConfigError;
use super::checks::key;
use crate::classification::Label;
use crate::config::{Classifier, Examples, raw};

type Routes = BTreeMap<String, raw::Route>;

pub(super) fn classifier(
    name: String,
    routes: Option<&Routes>,
    path: &str,
) -> Result<Classifier, ConfigError> {
    if name != Classifier::EXAMPLES {
        return without_examples(routes, path).map(|()| Classifier::Head(name));
    }
    let Some(routes) = routes.filter(|routes| !routes.is_empty()) else {
        let problem = "needs routes with examples, as its classifier is `examples`";
        return Err(ConfigError::new(path, problem));
    };
    let mut all = BTreeMap::new();
    for (label, route) in routes {
        let examples = examples(label, route, &format!("{path}.routes.{}", key(label)))?;
        all.insert(label.clone(), examples.to_vec());
    }
    let count: usize = all.values().map(Vec::len).sum();
    if count > Examples::MAX {
        let problem = format!("have {count} examples in total; the maximum is {}", Examples::MAX);
        return Err(ConfigError::new(format!("{path}.routes"), problem));
    }
    Ok(Classifier::Examples(Arc::new(Examples::new(all))))
}

fn without_examples(routes: Option<&Routes>, path: &str) -> Result<(), ConfigError> {
    let with_examples =
        routes.into_iter().flatten().find(|(_, route)| matches!(route, raw::Route::WithExamples(_)));
    match with_examples {
        None => Ok(()),
        Some((label, _)) => {
            let problem = "has examples, which need `classifier: examples`; give only the model's name, or change the classifier";
            Err(ConfigError::new(format!("{path}.routes.{}", key(label)), problem))
        }
    }
}

fn examples<'a>(label: &str, route: &'a raw::Route, path: &str) -> Result<&'a [String], ConfigError> {
    // The sidecar returns the label as its prediction, so it must be a valid label.
    Label::new(label, 1.0).map_err(|problem| ConfigError::new(path, problem.to_string()))?;
    let raw::Route::WithExamples(route) = route else {
        let problem = "needs examples: {model: NAME, examples: [a prompt that should go there]}";
        return Err(ConfigError::new(path, problem));
    };
    if route.examples.is_empty() {
        return Err(ConfigError::new(format!("{path}.examples"), "needs at least one"));
    }
    for (index, example) in route.examples.iter().enumerate() {
        let problem = if example.trim().is_empty() {
            "is blank".to_owned()
        } else if example.len() > Examples::MAX_LENGTH {
            format!("has {} bytes; the maximum is {}", example.len(), Examples::MAX_LENGTH)
        } else {
            continue;
        };
        return Err(ConfigError::new(format!("{path}.examples[{index}]"), problem));
    }
    Ok(&route.examples)
}
