//! Reads the policy that `serve` routes by.

use std::path::Path;

use anyhow::{Context, Result, bail};
use llm_router_routing::config::Config;

use crate::policy::{documents, find};

/// The one policy of a file.
pub(crate) fn read(path: &Path) -> Result<Config> {
    let mut policies = Vec::new();
    for document in documents(path)? {
        policies.extend(find::find(&document));
    }
    match (policies.pop(), policies.len()) {
        (Some(found), 0) => found.policy.with_context(|| format!("{} is not a valid policy", path.display())),
        (None, _) => bail!("{} has no policy", path.display()),
        (Some(_), others) => bail!("{} has {} policies, serve takes one", path.display(), others + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const POLICY: &str = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                          policies: {p: {classifier: task, routes: {}, default: m}}\n";

    fn read_text(text: &str) -> Result<Config> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path())
    }

    #[test]
    fn a_policy_is_read_alone_or_where_it_is_embedded() {
        assert_eq!(read_text(POLICY).unwrap().default_policy.name.as_str(), "p");
        let map = format!("kind: ConfigMap\ndata:\n  policy.yaml: |\n    {}", POLICY.replace('\n', "\n    "));
        assert_eq!(read_text(&map).unwrap().default_policy.name.as_str(), "p");
    }

    #[test]
    fn what_is_not_one_valid_policy_is_refused_and_says_why() {
        for (text, reason) in [
            (POLICY.replace("default: m", "default: nope"), "nope"),
            ("kind: Deployment\n".to_owned(), "no policy"),
            (format!("{POLICY}---\n{POLICY}"), "2 policies"),
        ] {
            let error = format!("{:#}", read_text(&text).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
