//! The classifier of a policy.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The classifier of a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Classifier {
    /// A head of the sidecar's model, by name.
    Head(String),
    /// Similarity to few-shot examples, which the policy contains.
    Examples(Arc<Examples>),
}

impl Classifier {
    /// The name of the classifier by few-shot examples in configuration, calls and responses. No head may have it.
    pub const EXAMPLES: &str = "examples";

    /// The name in calls to the sidecar.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Head(name) => name,
            Self::Examples(_) => Self::EXAMPLES,
        }
    }

    /// What the sidecar needs to classify, in addition to its model.
    pub fn examples(&self) -> Option<&Arc<Examples>> {
        match self {
            Self::Head(_) => None,
            Self::Examples(examples) => Some(examples),
        }
    }

    /// Distinguishes classifiers whose predictions may differ.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Head(name) => name,
            Self::Examples(examples) => examples.digest(),
        }
    }
}

impl<T: Into<String>> From<T> for Classifier {
    fn from(head: T) -> Self {
        Self::Head(head.into())
    }
}

impl fmt::Display for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Few-shot examples for each label, and their digest. The sidecar uses the digest to check whether it has embedded them.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    digest: String,
    routes: BTreeMap<String, Vec<String>>,
}

impl Examples {
    /// The maximum number of examples of a policy. The sidecar embeds each of them.
    pub const MAX: usize = 1000;
    /// The maximum length of an example, in bytes.
    pub const MAX_LENGTH: usize = 1024;

    /// Takes the examples of each label.
    pub fn new(routes: BTreeMap<String, Vec<String>>) -> Self {
        let mut hash = Sha256::new();
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        for (label, examples) in &routes {
            text(label);
            text(&examples.len().to_string());
            examples.iter().for_each(|example| text(example));
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digest, routes }
    }

    /// SHA-256 in 64 hexadecimal digits: of each label in order the label, the number of its examples in decimal, and
    /// the examples, each of these texts behind its length in 8 bytes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The labels and their examples.
    pub fn routes(&self) -> &BTreeMap<String, Vec<String>> {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(routes: &[(&str, &[&str])]) -> String {
        let texts = |examples: &[&str]| examples.iter().map(|&text| text.to_owned()).collect();
        let routes = routes.iter().map(|(label, examples)| ((*label).to_owned(), texts(examples)));
        Examples::new(routes.collect()).digest().to_owned()
    }

    #[test]
    fn the_digest_tells_examples_apart() {
        let first = digest(&[("billing", &["refund please"]), ("tech", &["it crashed"])]);
        assert_eq!(first.len(), 64);
        assert_eq!(first, digest(&[("billing", &["refund please"]), ("tech", &["it crashed"])]));
        for other in [
            digest(&[("billing", &["refund, please"]), ("tech", &["it crashed"])]),
            digest(&[("billing", &["refund please", "tech"]), ("it crashed", &[])]),
            digest(&[("billing", &["refund please"])]),
        ] {
            assert_ne!(first, other);
        }
    }
}
