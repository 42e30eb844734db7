// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ancestor's paths, in its JSON: what was written for it goes on working.
//!
//! Keys are capitalised, sizes are in MB, errors are plain text. What was a fault there (500 for
//! what is not found) is not repeated.

mod images;
mod instances;
mod types;
mod volumes;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bhojpur_api::{Code, ErrorBody};

use crate::http::{App, Pairs, ok};
use crate::{Error, Result, http};

/// An error is not longer.
const ERROR_MAX: usize = 64 << 10;

/// All paths of the ancestor.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/available_compilers", get(compilers))
        .route("/available_providers", get(providers))
        .route("/describe_compiler", get(describe_compiler))
        .route("/images", get(images::list))
        .route("/images/{name}", get(images::show).delete(images::remove))
        .route("/images/{name}/create", post(images::create))
        .route("/images/push/{name}", post(hub))
        .route("/images/pull/{name}", post(hub))
        .route("/images/remote-delete/{name}", post(hub))
        .route("/instances", get(instances::list))
        .route("/instances/run", post(instances::run))
        .route("/instances/{name}", get(instances::show).delete(instances::remove))
        .route("/instances/{name}/logs", get(instances::logs))
        .route("/instances/{name}/start", post(instances::start))
        .route("/instances/{name}/stop", post(instances::stop))
        .route("/volumes", get(volumes::list))
        .route("/volumes/{name}", get(volumes::show).post(volumes::create).delete(volumes::remove))
        .route("/volumes/{name}/attach/{instance}", post(volumes::attach))
        .route("/volumes/{name}/detach", post(volumes::detach))
        // Uploads have limits of their own.
        .layer(DefaultBodyLimit::disable())
}

/// Whether a route is one of these.
pub(crate) fn owns(route: &str) -> bool {
    ["/available_", "/describe_compiler", "/images", "/instances", "/volumes"]
        .iter()
        .any(|prefix| route.starts_with(prefix))
}

/// Errors were plain text.
pub(crate) async fn plain_error(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let bytes = to_bytes(response.into_body(), ERROR_MAX).await.unwrap_or_default();
    let text = match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(ErrorBody { message, advice: Some(advice), .. }) => format!("{message}; {advice}"),
        Ok(ErrorBody { message, .. }) => message,
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn compilers(State(app): State<App>) -> Result<Response> {
    let all = http::system::list_compilers(&app).await;
    let names: Vec<String> = all.into_iter().filter(|one| one.ready).map(|one| one.name).collect();
    ok(names)
}

async fn providers(State(app): State<App>) -> Result<Response> {
    let all = http::system::list_providers(&app).await;
    let names: Vec<String> =
        all.into_iter().filter(|one| one.available).map(|one| one.name).collect();
    ok(names)
}

async fn describe_compiler(State(app): State<App>, query: Pairs) -> Result<Response> {
    let (lang, provider) =
        (query.text("lang").unwrap_or_default(), query.text("provider").unwrap_or_default());
    let all = http::system::list_compilers(&app).await;
    let found = all.into_iter().find(|one| one.language == lang && one.provider == provider);
    found
        .map(|one| one.description.into_response())
        .ok_or_else(|| Error::not_found("compiler", &format!("{lang}-{provider}")))
}

async fn hub() -> Result<Response> {
    Err(Error::new(Code::Unsupported, "there is no hub yet")
        .advise("copy images with GET /v1/images/NAME/elf and POST /v1/images/import until then"))
}
