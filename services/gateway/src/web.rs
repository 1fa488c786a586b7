//! The operator's page, embedded in the program.

use axum::{
    Router,
    extract::Path,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use rust_embed::RustEmbed;

// In a development build the files are read from the folder at run time, so that the page can be worked on.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Page;

const INDEX: &str = "index.html";
/// Vite puts a hash into the names below this folder.
const HASHED: &str = "assets/";
const POLICY: &str = "default-src 'self'; style-src 'self'; img-src 'self' data:";

/// What `/` says where the page was not built.
const STUB: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Mesos</title>\
<h1>The page is not part of this build</h1>\
<p>Build it with <code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code> and build the program again. \
The cluster runs without it: see <a href=\"/v1/cluster\">/v1/cluster</a>, <a href=\"/state\">/state</a> and \
<a href=\"/metrics\">/metrics</a>.</p></html>\n";

/// The routes: `/` and the files of the page.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { index() }))
        .route("/index.html", get(|| async { index() }))
        .route("/favicon.svg", get(|| async { file("favicon.svg") }))
        .route("/assets/{*path}", get(|Path(path): Path<String>| async move { file(&format!("{HASHED}{path}")) }))
}

fn index() -> Response {
    if Page::get(INDEX).is_some() { file(INDEX) } else { Html(STUB).into_response() }
}

fn file(path: &str) -> Response {
    let Some(file) = Page::get(path) else { return StatusCode::NOT_FOUND.into_response() };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    // The page itself is asked for each time, or a new version would not be noticed.
    let cache = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, kind.as_ref()),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, file.data.into_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_or_a_stub_that_says_how_to_build_it_is_there() {
        let response = index();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        assert!(STUB.contains("npm ci"));
    }

    #[test]
    fn hashed_files_are_kept_for_ever_and_the_page_is_not() {
        for path in Page::iter().filter(|path| path != ".gitignore") {
            let cache = file(&path).headers()[header::CACHE_CONTROL].clone();
            assert_eq!(cache.to_str().unwrap().contains("immutable"), path.starts_with(HASHED), "{path}");
        }
        assert_eq!(file("assets/../../Cargo.toml").status(), StatusCode::NOT_FOUND);
    }
}
