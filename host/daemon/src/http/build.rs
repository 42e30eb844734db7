// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds, told as they go on.

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bhojpur_api as api;
use bhojpur_api::Code;
use utoipa::openapi::HttpMethod;

use super::{Answer, App, Body, Doc, Pairs, Route, stream, upload};
use crate::engine::build::{Order, Told};
use crate::{Error, Result, wire};

const PARAMETERS: &[&str] = &[
    "name",
    "path",
    "language",
    "provider",
    "args",
    "env",
    "include",
    "mounts",
    "ports",
    "memory_mib",
    "cpus",
    "flags",
    "force",
];

pub(super) fn routes() -> Vec<Route> {
    vec![Route {
        method: HttpMethod::Post,
        path: "/images/build",
        doc: Doc {
            summary: "Builds an image from a context. The build ends when the client leaves.",
            query: &[
                ("name", "string", "NAME[:TAG]."),
                ("path", "string", "The directory of the program in the context."),
                ("language", "string", "Found out from the files when absent."),
                ("provider", "string", "The provider for which it is staged."),
                ("args", "string", "Arguments of the program, a JSON array of strings."),
                ("env", "string", "Environment of the program, a JSON array of NAME=VALUE."),
                ("include", "string", "Files to include, a JSON array of CONTEXT:GUEST."),
                ("mounts", "string", "What it mounts, a JSON array of SOURCE:GUEST."),
                ("ports", "string", "Where the program listens, a JSON array of PORT[/udp]."),
                ("memory_mib", "integer", "Memory of an instance when nobody says."),
                ("cpus", "integer", "Processors of an instance when nobody says."),
                ("flags", "string", "Flags of the build command, a JSON array of strings."),
                ("force", "boolean", "Take the name away from another image."),
            ],
            body: Body::Bytes("application/x-tar", "A tar of the context, plain or gzip."),
            answer: Answer::Events("BuildEvent"),
        },
        handler: post(build),
    }]
}

async fn build(State(app): State<App>, query: Pairs, body: axum::body::Body) -> Result<Response> {
    let query = query.only(PARAMETERS)?;
    let text = |name: &str| query.text(name).unwrap_or_default().to_owned();
    let list = |name: &str| wire::list(name, query.text(name).unwrap_or_default());
    let order = Order {
        name: text("name"),
        path: text("path"),
        language: text("language"),
        provider: text("provider"),
        args: list("args")?,
        env: list("env")?,
        include: list("include")?,
        mounts: list("mounts")?,
        ports: list("ports")?
            .iter()
            .map(|text| wire::wanted_exposed(text))
            .collect::<Result<_>>()?,
        memory_mib: query.number("memory_mib")?,
        cpus: cpus(query.number("cpus")?),
        flags: list("flags")?,
        force: query.flag("force")?,
    };
    app.engine.check_order(&order)?;
    let upload = upload(&app, body).await?.ok_or_else(|| {
        Error::new(Code::BadRequest, "the request has no body")
            .advise("send a tar of the directory that holds the program")
    })?;
    let mut build = app.engine.build(order, upload)?;
    stream(&app, async move |tell| {
        while let Some(told) = build.told.recv().await {
            tell.event(None, &event(told)).await?;
        }
        Ok(())
    })
}

/// A number that no machine has is refused as any other that is too large.
fn cpus(number: Option<u64>) -> Option<u32> {
    number.map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn event(told: Told) -> api::BuildEvent {
    match told {
        Told::Step(title) => api::BuildEvent::Step { title },
        Told::Output(line) => api::BuildEvent::Output { line },
        Told::Progress { what, done, total } => api::BuildEvent::Progress { what, done, total },
        Told::Done(image) => api::BuildEvent::Done { image: Box::new(wire::image(*image)) },
        Told::Failed(error) => api::BuildEvent::Failed { error: error.body() },
    }
}
