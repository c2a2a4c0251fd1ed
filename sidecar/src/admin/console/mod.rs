//! The console: a page for operators, made of the files in this folder. They use only the API, and nothing from other sites.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Redirect;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Names a file of this folder, with its type and its content.
macro_rules! file {
    ($name:literal, $kind:ident) => {
        ($name, $kind, include_str!($name))
    };
}

const INDEX: (&str, &str, &str) = file!("index.html", HTML);

const FILES: [(&str, &str, &str); 26] = [
    file!("icon.svg", SVG),
    file!("colors.css", CSS),
    file!("page.css", CSS),
    file!("forms.css", CSS),
    file!("results.css", CSS),
    file!("tables.css", CSS),
    file!("drawings.css", CSS),
    file!("api.js", JAVASCRIPT),
    file!("banners.js", JAVASCRIPT),
    file!("chart.js", JAVASCRIPT),
    file!("compare-result.js", JAVASCRIPT),
    file!("compare-view.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("explain-form.js", JAVASCRIPT),
    file!("explain-result.js", JAVASCRIPT),
    file!("fields.js", JAVASCRIPT),
    file!("format.js", JAVASCRIPT),
    file!("heads.js", JAVASCRIPT),
    file!("live-panels.js", JAVASCRIPT),
    file!("live-view.js", JAVASCRIPT),
    file!("main.js", JAVASCRIPT),
    file!("openmetrics.js", JAVASCRIPT),
    file!("picture.js", JAVASCRIPT),
    file!("policies-view.js", JAVASCRIPT),
    file!("policy-store.js", JAVASCRIPT),
    file!("sampler.js", JAVASCRIPT),
];

/// The page at `/console/`. `/` redirects there.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let to_page = || async { Redirect::temporary("console/") };
    let (_, kind, page) = INDEX;
    let router = Router::new()
        .route("/", get(to_page))
        .route("/console", get(to_page))
        .route("/console/", get(move || async move { ([(CONTENT_TYPE, kind)], page) }));
    FILES.into_iter().fold(router, |router, (name, kind, content)| {
        router
            .route(&format!("/console/{name}"), get(move || async move { ([(CONTENT_TYPE, kind)], content) }))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/console");
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<_> = names.filter(|name| name != "mod.rs" && name != "index.html").collect();
        let served: BTreeSet<_> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn the_page_has_no_inline_script_and_style_and_nothing_from_elsewhere() {
        let (_, _, page) = INDEX;
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"));
        for script in page.split("<script").skip(1) {
            let (attributes, rest) = script.split_once('>').unwrap();
            assert!(attributes.contains("src=\"") && rest.starts_with("</script>"), "{script}");
        }
        for (name, _, content) in FILES.into_iter().chain([INDEX]) {
            let addresses = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!addresses.contains("http://") && !addresses.contains("https://"), "{name}");
            for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!content.contains(sink), "{name} has {sink}");
            }
        }
    }
}
