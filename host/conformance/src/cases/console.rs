// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person types reaches the program.

use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bhojpur_provider::{ErrorKind, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::Bench;
use crate::bench::expect_error;

/// How long a visitor stays.
const GLANCE: Duration = Duration::from_millis(3);

/// Two people, one after the other; the log has all of the output meanwhile.
pub(super) async fn console(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["say=first?", "read", "say=second?", "read", "wait"]);
    bench.provider().create(&plan).await.context("create")?;
    let early = bench.provider().console(&plan.id).await;
    expect_error(early, ErrorKind::Conflict, "console of what does not run")?;
    bench.provider().start(&plan).await.context("start")?;
    for (question, line) in [("first?", "good morning"), ("second?", "good night")] {
        bench.says(&plan.id, question).await?;
        type_line(bench, &plan.id, line).await?;
        bench.says(&plan.id, &format!("read {line}")).await?;
    }
    bench.delete(&plan.id).await
}

async fn type_line(bench: &Bench, id: &bhojpur_provider::InstanceId, line: &str) -> Result<()> {
    let path = bench.provider().console(id).await.context("console")?;
    let kind = std::fs::metadata(&path).with_context(|| path.display().to_string())?.file_type();
    let line = format!("{line}\n");
    if kind.is_socket() {
        let stream = UnixStream::connect(&path).await.context("connect to the console")?;
        let (mut reader, mut writer) = stream.into_split();
        let said = tokio::spawn(async move {
            let mut thrown_away = Vec::new();
            let _ = reader.read_to_end(&mut thrown_away).await;
        });
        writer.write_all(line.as_bytes()).await?;
        bench.says(id, &format!("read {}", line.trim_end())).await?;
        drop(writer);
        said.abort();
    } else if kind.is_fifo() {
        let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_sender(&path)?;
        pipe.write_all(line.as_bytes()).await?;
    } else {
        bail!("{} is neither a socket nor a FIFO", path.display());
    }
    Ok(())
}

/// People who come and go while the program speaks take nothing away from the log.
pub(super) async fn visitors(bench: &mut Bench) -> Result<()> {
    const LINES: usize = 4000;
    let plan = bench.plan(&["say=begin", "flood=4000", "say=the last word", "exit=0"]);
    bench.launch(&plan).await?;
    let path = bench.provider().console(&plan.id).await.context("console")?;
    while bench.state(&plan.id).await? == State::Running {
        // They say nothing, read a little and leave. What has no visitors is opened alone.
        if let Ok(mut stream) = UnixStream::connect(&path).await {
            let mut some = [0; 100];
            let _ = tokio::time::timeout(GLANCE, stream.read(&mut some)).await;
        } else {
            let _opened = tokio::net::unix::pipe::OpenOptions::new().open_sender(&path);
            tokio::time::sleep(GLANCE).await;
        }
    }
    bench.exits(&plan.id, 0).await?;
    let log = bench.log(&plan.id).await?;
    let lines: Vec<&str> = log.lines().collect();
    for (index, line) in lines.iter().skip(1).take(LINES).enumerate() {
        let expected = format!("line {} of a flood that fills the log", index + 1);
        ensure!(*line == expected, "line {} of the log is {line:?}", index + 1);
    }
    ensure!(lines.len() == LINES + 2, "{} lines are there", lines.len());
    bench.delete(&plan.id).await
}
