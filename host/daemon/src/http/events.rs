// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens, as it happens.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::broadcast::error::RecvError;
use utoipa::openapi::HttpMethod;

use super::{Answer, App, Body, Doc, Gone, Pairs, Route, Tell, stream};
use crate::engine::Engine;
use crate::{Result, store, wire};

pub(super) fn routes() -> Vec<Route> {
    vec![Route {
        method: HttpMethod::Get,
        path: "/events",
        doc: Doc {
            summary: "Events as they come, those after a number first.",
            query: &[(
                "since",
                "integer",
                "Begin after this event; with those to come when absent.",
            )],
            body: Body::Nothing,
            answer: Answer::Events("Event"),
        },
        handler: get(events),
    }]
}

async fn events(State(app): State<App>, query: Pairs, headers: HeaderMap) -> Result<Response> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let since = query.only(&["since"])?.number("since")?.or(last);
    let engine = app.engine.clone();
    // Subscribed before the table is read, so that nothing falls in between.
    let mut listener = engine.store.listen();
    stream(&app, async move |tell| {
        let mut told = 0;
        if let Some(since) = since {
            told = catch_up(&engine, &tell, since).await?;
        }
        loop {
            match listener.recv().await {
                Ok(event) if event.id > told => {
                    told = event.id;
                    tell.event(Some(event.id), &wire::event(&event)).await?;
                }
                Ok(_) => {}
                // Whoever has heard nothing yet asked for no number to go on from.
                Err(RecvError::Lagged(_)) if told == 0 => {}
                Err(RecvError::Lagged(_)) => told = catch_up(&engine, &tell, told).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    })
}

/// Tells what the table has after an event; the number of the last one.
async fn catch_up(engine: &Engine, tell: &Tell, since: u64) -> Result<u64, Gone> {
    let mut told = since;
    loop {
        let found = engine.store.read(move |db| store::events::after(db, told)).await;
        let page = match found {
            Ok(page) => page,
            Err(error) => {
                tell.error(&error).await?;
                return Err(Gone);
            }
        };
        if page.is_empty() {
            return Ok(told);
        }
        for event in page {
            told = event.id;
            tell.event(Some(event.id), &wire::event(&event)).await?;
        }
    }
}
