// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The web page, built in. It asks this interface like everybody else, with a token.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::http::App;

const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../web/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../web/app.js")),
    ("/daemon.js", "text/javascript; charset=utf-8", include_str!("../web/daemon.js")),
    ("/parts.js", "text/javascript; charset=utf-8", include_str!("../web/parts.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../web/style.css")),
];

/// The page's files.
pub(crate) fn router() -> Router<App> {
    FILES.iter().fold(Router::new(), |router, (path, media, text)| {
        router.route(path, get(async move || serve(media, text)))
    })
}

/// Whether a route is one of these files.
pub(crate) fn owns(route: &str) -> bool {
    FILES.iter().any(|(path, ..)| *path == route)
}

/// Nothing from elsewhere, nothing inside of anything.
fn serve(media: &'static str, text: &'static str) -> Response {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, media),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
