// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon itself: what it is, what it can do, who may use it, what it counts.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use bhojpur_api as api;
use bhojpur_build::language::LANGUAGES;
use bhojpur_provider::{Kind, Readiness, Stage};
use utoipa::openapi::HttpMethod;

use super::{Answer, App, Body, Doc, Json, Pairs, Reference, Route, created, ok};
use crate::metrics::Page;
use crate::model::Role;
use crate::{Result, providers, wire};

/// Languages that can be built, not only recognised.
const BUILDABLE: &[&str] = &["go", "binary"];

pub(super) fn routes() -> Vec<Route> {
    let look = |path, summary, answer, handler| Route {
        method: HttpMethod::Get,
        path,
        doc: Doc { summary, query: &[], body: Body::Nothing, answer },
        handler,
    };
    vec![
        look("/ping", "A sign of life.", Answer::Json("Pong"), get(ping)),
        look("/info", "What this daemon is.", Answer::Json("Info"), get(info)),
        look(
            "/providers",
            "All providers, and which are ready.",
            Answer::List("Provider"),
            get(all_providers),
        ),
        look(
            "/compilers",
            "What can be built, and for what.",
            Answer::List("Compiler"),
            get(compilers),
        ),
        look("/tokens", "All tokens, without their secrets.", Answer::List("Token"), get(tokens)),
        Route {
            method: HttpMethod::Post,
            path: "/tokens",
            doc: Doc {
                summary: "Makes a token; its secret is shown this one time.",
                query: &[],
                body: Body::Json("TokenRequest"),
                answer: Answer::Created("NewToken"),
            },
            handler: post(make_token),
        },
        Route {
            method: HttpMethod::Delete,
            path: "/tokens/{name}",
            doc: Doc {
                summary: "Removes a token.",
                query: &[],
                body: Body::Nothing,
                answer: Answer::Nothing,
            },
            handler: delete(remove_token),
        },
    ]
}

/// What stands beside the routes of the interface.
pub(super) fn beside() -> Router<App> {
    Router::new().route("/metrics", get(metrics)).route("/v1/openapi.json", get(openapi))
}

async fn ping() -> Result<Response> {
    ok(api::Pong {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: vec![api::VERSION.to_owned()],
    })
}

async fn info(State(app): State<App>, Extension(role): Extension<Role>) -> Result<Response> {
    let engine = &app.engine;
    let instances = engine.registry.all();
    let running = instances.iter().filter(|handle| handle.now().now.phase.is_live()).count();
    ok(api::Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        directory: engine.home.root().display().to_string(),
        default_provider: engine.providers.default_kind().to_string(),
        images: engine.images().await?.len() as u64,
        instances: instances.len() as u64,
        running: running as u64,
        volumes: engine.volumes().await?.len() as u64,
        started: engine.started.rfc3339(),
        role: wire::role(role),
    })
}

/// All kinds, each with what it says of itself.
pub(crate) async fn list_providers(app: &App) -> Vec<api::Provider> {
    let mut all = Vec::new();
    for kind in Kind::all() {
        let (readiness, can) = match app.engine.providers.of(kind) {
            Ok(provider) => (Some(provider.readiness().await), Some(provider.capabilities())),
            Err(_) => (None, None),
        };
        let (ready, status, advice) = match readiness {
            Some(Readiness::Ready { found }) => (true, found, None),
            Some(Readiness::Missing { reason, advice }) => (false, reason, Some(advice)),
            None if kind.stage() == Stage::Planned => (false, "not there yet".to_owned(), None),
            None => (false, "not set up in this daemon".to_owned(), None),
        };
        all.push(api::Provider {
            name: kind.name().to_owned(),
            title: kind.title().to_owned(),
            ready,
            available: app.engine.providers.has(kind),
            status,
            needs: kind.needs().to_owned(),
            advice,
            capabilities: can
                .map(providers::words)
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        });
    }
    all
}

async fn all_providers(State(app): State<App>, query: Pairs) -> Result<Response> {
    query.only(&[])?;
    ok(list_providers(&app).await)
}

/// Every language with every provider that there is.
pub(crate) async fn list_compilers(app: &App) -> Vec<api::Compiler> {
    let providers = list_providers(app).await;
    let mut all = Vec::new();
    for language in LANGUAGES {
        let can = BUILDABLE.contains(&language.name());
        for provider in providers.iter().filter(|provider| provider.available) {
            let description = if can {
                format!("builds {} programs into images for {}", language.name(), provider.title)
            } else {
                format!("{} is recognised and cannot be built yet", language.name())
            };
            all.push(api::Compiler {
                name: format!("bhojpur-{}-{}", language.name(), provider.name),
                language: language.name().to_owned(),
                provider: provider.name.clone(),
                ready: can,
                description,
            });
        }
    }
    all
}

async fn compilers(State(app): State<App>, query: Pairs) -> Result<Response> {
    query.only(&[])?;
    ok(list_compilers(&app).await)
}

async fn tokens(State(app): State<App>) -> Result<Response> {
    let tokens = app.engine.tokens().await?;
    ok(tokens.into_iter().map(wire::token).collect::<Vec<_>>())
}

async fn make_token(
    State(app): State<App>,
    Json(request): Json<api::TokenRequest>,
) -> Result<Response> {
    let role = wire::wanted_role(request.role);
    let (token, secret) = app.engine.make_token(request.name, role).await?;
    created(api::NewToken {
        name: token.name,
        role: wire::role(token.role),
        secret: secret.expose().clone(),
    })
}

async fn remove_token(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    app.engine.remove_token(name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn openapi() -> Result<Response> {
    ok(super::document())
}

async fn metrics(State(app): State<App>) -> Response {
    let engine = &app.engine;
    let mut page = Page::default();
    page.family("bhojpur_info", "gauge", "The daemon's version.");
    page.value("bhojpur_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.family("bhojpur_start_time_seconds", "gauge", "When the daemon was started.");
    page.value("bhojpur_start_time_seconds", &[], engine.started.0 as f64 / 1000.0);
    page.family("bhojpur_instances", "gauge", "Instances by what they are doing.");
    for (phase, count) in engine.phases() {
        page.value("bhojpur_instances", &[("state", phase.name())], count as f64);
    }
    engine.metrics.write(&mut page);
    let running: Vec<_> = engine
        .registry
        .all()
        .into_iter()
        .filter(|handle| handle.now().now.phase.is_live())
        .filter_map(|handle| Some((handle.now(), handle.last_sample()?)))
        .collect();
    page.family("bhojpur_instance_cpu_seconds_total", "counter", "Processor time since the start.");
    for (instance, sample) in &running {
        let labels = [("name", instance.name.as_str()), ("id", instance.id.as_str())];
        let seconds = sample.usage.cpu_time_ns as f64 / 1e9;
        page.value("bhojpur_instance_cpu_seconds_total", &labels, seconds);
    }
    page.family("bhojpur_instance_memory_bytes", "gauge", "Memory of the host in use.");
    for (instance, sample) in &running {
        let labels = [("name", instance.name.as_str()), ("id", instance.id.as_str())];
        page.value("bhojpur_instance_memory_bytes", &labels, sample.usage.memory_bytes as f64);
    }
    let media = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], page.finish()).into_response()
}
