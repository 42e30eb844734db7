// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use bhojpur_api as api;
use utoipa::openapi::HttpMethod;

use super::{Answer, App, Body, Doc, Json, Pairs, Reference, Route, created, ok};
use crate::engine::names;
use crate::instance::{Command, Reply};
use crate::model::Instance;
use crate::{Error, Result, store, wire};

pub(super) fn routes() -> Vec<Route> {
    let act = |path, summary, handler| Route {
        method: HttpMethod::Post,
        path,
        doc: Doc { summary, query: &[], body: Body::Nothing, answer: Answer::Json("Instance") },
        handler,
    };
    let with_grace = |path, summary, handler| Route {
        method: HttpMethod::Post,
        path,
        doc: Doc {
            summary,
            query: &[("grace_s", "integer", "Seconds between asking and ending.")],
            body: Body::Nothing,
            answer: Answer::Json("Instance"),
        },
        handler,
    };
    let route = |method, path, summary, query, body, answer, handler| Route {
        method,
        path,
        doc: Doc { summary, query, body, answer },
        handler,
    };
    let nothing: &'static [super::route::Parameter] = &[];
    vec![
        route(
            HttpMethod::Get,
            "/instances",
            "Instances that run, or all of them.",
            &[
                ("all", "boolean", "Those that do not run as well."),
                ("label", "string", "NAME or NAME=VALUE that they have; can be repeated."),
            ],
            Body::Nothing,
            Answer::List("Instance"),
            get(list),
        ),
        route(
            HttpMethod::Post,
            "/instances",
            "Makes an instance and starts it. A failure leaves nothing behind.",
            nothing,
            Body::Json("RunRequest"),
            Answer::Created("Instance"),
            post(run),
        ),
        route(
            HttpMethod::Get,
            "/instances/{ref}",
            "One instance.",
            nothing,
            Body::Nothing,
            Answer::Json("Instance"),
            get(show),
        ),
        route(
            HttpMethod::Delete,
            "/instances/{ref}",
            "Removes an instance.",
            &[
                ("force", "boolean", "Also when it runs."),
                (
                    "volumes",
                    "boolean",
                    "Remove its volumes as well, with all that is in them, but for those that \
                     other instances have. docker's parameter v means something else.",
                ),
            ],
            Body::Nothing,
            Answer::Nothing,
            delete(remove),
        ),
        act("/instances/{ref}/start", "Starts an instance.", post(start)),
        with_grace("/instances/{ref}/restart", "Stops an instance and starts it.", post(restart)),
        act("/instances/{ref}/pause", "Holds an instance.", post(pause)),
        act("/instances/{ref}/resume", "Lets a held instance go on.", post(resume)),
        with_grace("/instances/{ref}/stop", "Asks an instance to end, and ends it.", post(stop)),
        act("/instances/{ref}/kill", "Ends an instance at once.", post(kill)),
        route(
            HttpMethod::Post,
            "/instances/{ref}/rename",
            "Gives an instance another name.",
            nothing,
            Body::Json("RenameRequest"),
            Answer::Json("Instance"),
            post(rename),
        ),
        route(
            HttpMethod::Get,
            "/instances/{ref}/wait",
            "Waits until an instance does not run any more.",
            &[(
                "limit_s",
                "integer",
                "Seconds, an hour at most; then it is answered as it is, running or not.",
            )],
            Body::Nothing,
            Answer::Json("Instance"),
            get(wait),
        ),
        route(
            HttpMethod::Get,
            "/instances/{ref}/snapshots",
            "What was saved of an instance.",
            nothing,
            Body::Nothing,
            Answer::List("Snapshot"),
            get(snapshots),
        ),
        route(
            HttpMethod::Post,
            "/instances/{ref}/snapshots",
            "Saves an instance.",
            nothing,
            Body::Json("SnapshotRequest"),
            Answer::Created("Snapshot"),
            post(save),
        ),
        act(
            "/instances/{ref}/snapshots/{name}/restore",
            "Starts a stopped instance from what was saved.",
            post(restore),
        ),
        route(
            HttpMethod::Delete,
            "/instances/{ref}/snapshots/{name}",
            "Removes what was saved.",
            nothing,
            Body::Nothing,
            Answer::Nothing,
            delete(forget),
        ),
    ]
}

async fn list(State(app): State<App>, query: Pairs) -> Result<Response> {
    let query = query.only(&["all", "label"])?;
    let all = query.flag("all")?;
    let labels: Vec<(&str, Option<&str>)> = query
        .all("label")
        .map(|label| {
            label.split_once('=').map_or((label, None), |(name, value)| (name, Some(value)))
        })
        .collect();
    let matches = |instance: &Instance| {
        labels.iter().all(|(name, value)| {
            let found = instance.spec.labels.get(*name);
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        })
    };
    let mut found: Vec<_> = app
        .engine
        .registry
        .all()
        .iter()
        .map(|handle| handle.now())
        .filter(|instance| (all || !instance.now.phase.is_at_rest()) && matches(instance))
        .collect();
    found.sort_by_key(|instance| std::cmp::Reverse(instance.created));
    ok(found.iter().map(|instance| wire::instance(instance)).collect::<Vec<_>>())
}

async fn run(State(app): State<App>, Json(request): Json<api::RunRequest>) -> Result<Response> {
    let instance = app.engine.create_instance(wire::wanted(request)?).await?;
    created(wire::instance(&instance))
}

async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(wire::instance(&app.engine.registry.find(&name)?.now()))
}

async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let query = query.only(&["force", "volumes"])?;
    let handle = app.engine.registry.find(&name)?;
    let mounts = handle.now().mounts.clone();
    let volumes = match query.flag("volumes")? {
        true => app.engine.volumes_of(&mounts).await,
        false => Vec::new(),
    };
    handle.order(Command::Delete { force: query.flag("force")? }).await?;
    for volume in volumes {
        app.engine.remove_volume(volume.id.to_string(), false).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn order(app: &App, name: &str, command: Command) -> Result<Response> {
    let instance = app.engine.registry.find(name)?.order(command).await?;
    ok(wire::instance(&instance))
}

async fn start(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    order(&app, &name, Command::Start).await
}

async fn pause(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    order(&app, &name, Command::Pause).await
}

async fn resume(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    order(&app, &name, Command::Resume).await
}

async fn kill(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    order(&app, &name, Command::Kill).await
}

fn grace(query: Pairs) -> Result<Option<Duration>> {
    query.only(&["grace_s"])?.number("grace_s")?.map(wire::grace).transpose()
}

async fn stop(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    order(&app, &name, Command::Stop { grace: grace(query)? }).await
}

async fn restart(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    order(&app, &name, Command::Restart { grace: grace(query)? }).await
}

async fn rename(
    State(app): State<App>,
    Reference(name): Reference,
    Json(request): Json<api::RenameRequest>,
) -> Result<Response> {
    names::check("an instance", &request.name)?;
    order(&app, &name, Command::Rename(request.name)).await
}

async fn wait(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let limit = query.only(&["limit_s"])?.number("limit_s")?;
    let longest = app.engine.config.limits.wait;
    let limit = limit.map_or(longest, |seconds| Duration::from_secs(seconds).min(longest));
    let handle = app.engine.registry.find(&name)?;
    let (mut state, mut closing) = (handle.watch(), app.engine.closing());
    let ended = state.wait_for(|instance| {
        let phase = instance.now.phase;
        phase.is_at_rest() || phase == crate::model::Phase::Deleting
    });
    tokio::select! {
        // It is gone: what was last seen of it says how it ended.
        _ = ended => {}
        () = tokio::time::sleep(limit) => {}
        _ = closing.wait_for(|closing| *closing) => {
            return Err(Error::new(api::Code::Busy, "the daemon is ending").advise("wait again"));
        }
    }
    ok(wire::instance(&handle.now()))
}

async fn snapshots(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    let id = app.engine.registry.find(&name)?.id.clone();
    let all = app.engine.store.read(move |db| store::snapshots::of(db, id.as_str())).await?;
    ok(all.into_iter().map(wire::snapshot).collect::<Vec<_>>())
}

async fn save(
    State(app): State<App>,
    Reference(name): Reference,
    Json(request): Json<api::SnapshotRequest>,
) -> Result<Response> {
    names::check("a snapshot", &request.name)?;
    match app.engine.registry.find(&name)?.ask(Command::Save(request.name)).await? {
        Reply::Saved(snapshot) => created(wire::snapshot(snapshot)),
        _ => Err(Error::internal("nothing was saved")),
    }
}

/// The instance and the snapshot in a path.
type Both = axum::extract::Path<(String, String)>;

async fn restore(State(app): State<App>, both: Both) -> Result<Response> {
    let axum::extract::Path((name, snapshot)) = both;
    names::check("a snapshot", &snapshot)?;
    order(&app, &name, Command::Restore(snapshot)).await
}

async fn forget(State(app): State<App>, both: Both) -> Result<Response> {
    let axum::extract::Path((name, snapshot)) = both;
    names::check("a snapshot", &snapshot)?;
    app.engine.registry.find(&name)?.order(Command::Forget(snapshot)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
