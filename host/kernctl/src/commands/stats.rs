// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl stats`.

use std::io::IsTerminal as _;
use std::time::Duration;

use bhojpur_api::{Code, InstanceState};
use bhojpur_client::Client;

use crate::Failure;
use crate::arguments::Stats;
use crate::output::{Style, Used};
use crate::session::Session;

/// Between two measurements.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn execute(session: &Session, stats: &Stats) -> Result<u8, Failure> {
    let style = session.printer.style(stats.format.as_deref(), false)?;
    let client = session.connect().await?;
    if stats.no_stream {
        let used = measure(&client, &stats.names).await?;
        session.printer.list(&used, false, &style)?;
        return Ok(0);
    }
    let screen = std::io::stdout().is_terminal();
    let mut again = false;
    loop {
        let used = measure(&client, &stats.names).await?;
        match style {
            Style::Table => session.printer.screen(&used, again && screen)?,
            _ => {
                for one in &used {
                    session.printer.streamed(one, &style, || one.name.clone())?;
                }
            }
        }
        again = true;
        // What was named and does not run any more is not waited for.
        if !stats.names.is_empty() && used.is_empty() {
            return Ok(0);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// All that run, or those that were named.
async fn measure(client: &Client, names: &[String]) -> Result<Vec<Used>, Failure> {
    let mut instances = Vec::new();
    if names.is_empty() {
        instances = client.instances(false, &[]).await?;
    } else {
        for name in names {
            instances.push(client.instance(name).await?);
        }
    }
    let mut used = Vec::new();
    for instance in instances {
        if !matches!(instance.state, InstanceState::Running | InstanceState::Paused) {
            continue;
        }
        match client.stats(&instance.id).await {
            Ok(stats) => used.push(Used { id: instance.id, name: instance.name, stats }),
            // It ended in between.
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::Conflict)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(used)
}
