// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person types reaches the program.

use std::os::unix::fs::FileTypeExt as _;

use anyhow::{Context as _, Result, bail};
use bhojpur_provider::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::Bench;
use crate::bench::expect_error;

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
