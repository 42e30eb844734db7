// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances, the ancestor's way.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::types;
use crate::engine::create::{Wanted, WantedMount};
use crate::http::{App, Json, Pairs, Reference, allow, created, ok, stats, streaming};
use crate::instance::{Command, Handle};
use crate::model::{Role, Spec};
use crate::{Result, Secret};

/// Between two looks at a log, and two bytes that show whether the client is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Where a debugger was waited for.
const DEBUG_PORT: u16 = 3001;

pub(super) async fn list(State(app): State<App>) -> Result<Response> {
    let all = app.engine.registry.all();
    ok(all.iter().map(|handle| types::Instance::from(&*handle.now())).collect::<Vec<_>>())
}

pub(super) async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(types::Instance::from(&*app.engine.registry.find(&name)?.now()))
}

pub(super) async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let force = query.flag("force")?;
    app.engine.registry.find(&name)?.order(Command::Delete { force }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn run(
    State(app): State<App>,
    Json(request): Json<types::RunRequest>,
) -> Result<Response> {
    let mounts = request.mounts.into_iter().map(|(mount_point, volume)| WantedMount {
        volume,
        mount_point,
        read_only: false,
    });
    let wanted = Wanted {
        image: request.image_name,
        name: request.instance_name,
        provider: String::new(),
        memory_mib: Some(request.memory_mb).filter(|memory| *memory > 0),
        cpus: None,
        publish_all: false,
        spec: Spec { debug_port: request.debug_mode.then_some(DEBUG_PORT), ..Spec::default() },
        env: Secret::new(request.env.into_iter().collect()),
        mounts: mounts.collect(),
        start: true,
    };
    let instance = app.engine.create_instance(wanted).await?;
    created(types::Instance::from(&*instance))
}

pub(super) async fn start(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    app.engine.registry.find(&name)?.order(Command::Start).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn stop(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    app.engine.registry.find(&name)?.order(Command::Stop { grace: None }).await?;
    Ok(StatusCode::OK.into_response())
}

/// `delete`: the instance goes when the client does.
struct DeleteAfter(Arc<Handle>);

impl Drop for DeleteAfter {
    fn drop(&mut self) {
        let handle = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = handle.order(Command::Delete { force: true }).await {
                tracing::warn!(instance = %handle.id, %error, "cannot remove");
            }
        });
    }
}

pub(super) async fn logs(
    State(app): State<App>,
    Extension(role): Extension<Role>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let (follow, delete) = (query.flag("follow")?, query.flag("delete")?);
    if delete {
        // Its method alone says that this only looks.
        allow(role, Role::Operate)?;
    }
    let handle = app.engine.registry.find(&name)?;
    let mut reader = stats::reader(&app, &handle, 0).await?;
    streaming(&app, "text/plain; charset=utf-8", false, async move |tell| {
        let _delete = (follow && delete).then(|| DeleteAfter(handle.clone()));
        tell.raw(format!("getting logs for {}...\n", handle.id).into()).await?;
        loop {
            let goes_on = follow && stats::prints(&handle);
            let piece = match reader.next().await {
                Ok(piece) => piece.bytes,
                Err(error) => return tell.raw(format!("{error}\n").into()).await,
            };
            let nothing = piece.is_empty();
            if !nothing {
                tell.raw(piece.into()).await?;
            } else if !goes_on {
                return Ok(());
            }
            if follow && nothing {
                tell.raw(Bytes::from_static(b"\0")).await?;
                tokio::time::sleep(LOOK).await;
            }
        }
    })
}
