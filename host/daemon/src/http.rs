// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The REST interface: routes, who may use them, what each of them costs at most.

mod build;
mod events;
mod extract;
mod images;
mod instances;
mod openapi;
mod reply;
mod revoked;
mod route;
mod sse;
pub(crate) mod stats;
pub(crate) mod system;
mod volumes;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use bhojpur_api::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use extract::{Json, Pairs, Reference, upload};
pub(crate) use openapi::document;
pub(crate) use reply::{bytes_of_file, created, ok};
use revoked::Held;
pub(crate) use route::{Answer, Body, Doc, Route};
pub(crate) use sse::{Gone, Tell, stream, streaming};

use crate::engine::Engine;
use crate::model::Role;
use crate::{Error, Result, ancestor, web};

/// Routes that change nothing by themselves and go on for as long as somebody listens or types;
/// what becomes of a build is kept by a task of the engine's.
const END_WITH_CLIENT: &[&str] =
    &["/v1/images/build", "/images/{name}/create", "/v1/instances/{ref}/input"];

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
}

/// The state of the router.
pub(crate) type App = Arc<Shared>;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Over the unix socket: the owner of the directory.
    Owner,
    /// Over TCP: a token says who it is.
    Network,
}

/// All routes.
fn routes() -> Vec<Route> {
    [
        system::routes(),
        images::routes(),
        build::routes(),
        instances::routes(),
        stats::routes(),
        volumes::routes(),
        events::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The service that answers requests. Each has an [`Origin`] among its extensions.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    let limits = &engine.config.limits;
    let app = Arc::new(Shared {
        requests: Arc::new(Semaphore::new(limits.requests.max(1))),
        streams: Arc::new(Semaphore::new(limits.streams.max(1))),
        engine,
    });
    let mut router = Router::new();
    for route in routes() {
        router = router.route(&route.full_path(), route.handler);
    }
    router
        .merge(system::beside())
        .merge(ancestor::router())
        .merge(web::router())
        .method_not_allowed_fallback(not_allowed)
        .fallback(nowhere)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn nowhere(request: Request) -> Response {
    let message = format!("there is nothing at {}", request.uri().path());
    Error::new(Code::NotFound, message)
        .advise("GET /v1/openapi.json describes all addresses")
        .into_response()
}

async fn not_allowed(request: Request) -> Response {
    let message = format!("{} cannot be used with {}", request.uri().path(), request.method());
    Error::new(Code::MethodNotAllowed, message)
        .advise("GET /v1/openapi.json describes all addresses")
        .into_response()
}

/// Counts, limits and checks every request.
async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let ancestor = ancestor::owns(&route);
    let response = match admit(&app, &mut request, &route).await {
        Err(error) => error.into_response(),
        Ok(held) => match app.requests.clone().try_acquire_owned() {
            Ok(permit) => {
                let ends_with_client = ends_with_client(&method, &route);
                let answer = answer(&app, permit, request, ends_with_client, next);
                match held {
                    Some(held) => held.answer(answer, ends_with_client).await,
                    None => answer.await,
                }
            }
            Err(_) => busy().into_response(),
        },
    };
    let response = if ancestor { ancestor::plain_error(response).await } else { response };
    let (status, took) = (response.status(), start.elapsed());
    let code = status.as_u16();
    if status.is_server_error() {
        tracing::warn!(%method, route, status = code, ms = took.as_millis() as u64, "request");
    } else {
        tracing::debug!(%method, route, status = code, ms = took.as_millis() as u64, "request");
    }
    app.engine.metrics.answered(method.as_str(), &route, code, took);
    response
}

fn ends_with_client(method: &Method, route: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || END_WITH_CLIENT.contains(&route)
}

/// Lets a handler answer. The connection drops what it waits for when its client leaves, and an
/// operation that is dropped half way is neither finished nor undone: what changes anything goes on
/// in a task of its own.
async fn answer(
    app: &App,
    permit: OwnedSemaphorePermit,
    request: Request,
    ends_with_client: bool,
    next: Next,
) -> Response {
    let work = async move {
        let _permit = permit;
        next.run(request).await
    };
    if ends_with_client {
        return work.await;
    }
    app.engine.tasks.finish(work).await.unwrap_or_else(Error::into_response)
}

fn busy() -> Error {
    Error::new(Code::Busy, "the daemon has too many requests at once")
        .advise("try again in a moment")
}

/// What a request needs.
fn needed(method: &Method, route: &str) -> Option<Role> {
    if web::owns(route) {
        // The page itself has nothing to hide; what it asks for needs a token.
        return None;
    }
    Some(match *method {
        _ if route.starts_with("/v1/tokens") => Role::Admin,
        Method::GET | Method::HEAD | Method::OPTIONS => Role::Read,
        _ => Role::Operate,
    })
}

/// Finds out who asks, and refuses what they may not. The caller's role is left for handlers, and
/// the token that gives it is watched over.
async fn admit(app: &App, request: &mut Request, route: &str) -> Result<Option<Held>> {
    let needed = needed(request.method(), route);
    let (has, held) = match request.extensions().get::<Origin>() {
        Some(Origin::Owner) => (Some(Role::Admin), None),
        _ => match bearer(request) {
            Some(secret) => {
                let held = Held::new(&app.engine, &secret);
                let role = app.engine.role_of(&secret).await?.ok_or_else(wrong_token)?;
                (Some(role), Some(held))
            }
            None => (None, None),
        },
    };
    match (needed, has) {
        (None, _) => {}
        (Some(_), None) => {
            let error = Error::new(Code::Unauthorized, "this daemon wants a token");
            return Err(error.advise(
                "send Authorization: Bearer SECRET; the daemon's owner makes tokens with: \
                 kernctl daemon token create NAME --role operate",
            ));
        }
        (Some(needed), Some(has)) => allow(has, needed)?,
    }
    if let Some(role) = has {
        request.extensions_mut().insert(role);
    }
    Ok(held)
}

/// Refuses what a role may not. Handlers ask where a parameter makes more of their route.
pub(crate) fn allow(has: Role, needed: Role) -> Result<()> {
    if has >= needed {
        return Ok(());
    }
    let message = format!("the token allows to {}, and this needs {}", has.name(), needed.name());
    Err(Error::new(Code::Forbidden, message)
        .advise("ask the daemon's owner for a token with more rights"))
}

fn bearer(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim().to_owned())
}

fn wrong_token() -> Error {
    Error::new(Code::Unauthorized, "the token is not known")
        .advise("it was mistyped or removed; ask the daemon's owner for another one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_with_its_client_is_a_route() {
        let ours: Vec<String> = routes().iter().map(Route::full_path).collect();
        for route in END_WITH_CLIENT {
            assert!(ours.iter().any(|path| path == route) || ancestor::owns(route), "{route}");
        }
    }
}
