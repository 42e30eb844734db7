// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a guest said, taken apart: the program's output, the kernel's records,
//! and what the monitor had to say.

use anyhow::{Context as _, Result, bail, ensure};
use bhojpur_abi::control::{Exit, Record};
use bhojpur_abi::stream::Splitter;

use crate::nested::Outcome;

#[derive(Debug)]
pub(super) struct Seen {
    /// What the program printed.
    pub(super) console: String,
    /// The kernel's records, a line each.
    pub(super) records: String,
    /// The monitor's own log.
    pub(super) log: String,
    /// The monitor's exit status; `None` when it was left running.
    pub(super) status: Option<i32>,
}

impl Seen {
    /// What the guest called `name` left in the results of the job.
    pub(super) fn of(name: &str, outcome: &Outcome) -> Result<Self> {
        let file = |what: &str| outcome.files.get(&format!("{name}.{what}"));
        let text = |what: &str| file(what).map(|b| String::from_utf8_lossy(b).into_owned());
        let stream = file("console").with_context(|| format!("{name} was not run"))?;
        let (mut console, mut records) = (Vec::new(), Vec::new());
        let mut splitter = Splitter::default();
        let mut shown = |bytes: &[u8]| console.extend_from_slice(bytes);
        let mut said = |bytes: &[u8]| records.extend_from_slice(bytes);
        splitter.receive(stream, &mut shown, &mut said);
        splitter.finish(&mut shown, &mut said);
        Ok(Self {
            console: String::from_utf8_lossy(&console).replace("\r\n", "\n"),
            records: String::from_utf8_lossy(&records).into_owned(),
            log: text("log").unwrap_or_default() + &text("errors").unwrap_or_default(),
            status: text("status").and_then(|s| s.trim().parse().ok()),
        })
    }

    /// How the kernel says that the program ended.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.records.lines().find_map(|line| match Record::parse(line) {
            Record::Exit(exit) => Some(exit),
            _ => None,
        })
    }

    /// The program ended like this, the monitor by itself and without a complaint.
    pub(super) fn ended(&self, exit: Exit) -> Result<&Self> {
        ensure!(self.exit() == Some(exit), "the exit is {:?}, not {exit:?}\n{self}", self.exit());
        ensure!(self.status == Some(0), "the monitor ended with {:?}\n{self}", self.status);
        self.quiet()
    }

    /// The guest touched nothing that is not there, and nothing panicked.
    pub(super) fn quiet(&self) -> Result<&Self> {
        for bad in ["Failed to find address range", "Unexpected exit", "@panic"] {
            let line = self.log.lines().chain(self.records.lines()).find(|l| l.contains(bad));
            if let Some(line) = line {
                bail!("{line}\n{self}");
            }
        }
        Ok(self)
    }

    /// The program printed exactly this.
    pub(super) fn printed(&self, wanted: &str) -> Result<&Self> {
        ensure!(self.console == wanted, "it printed {:?}, not {wanted:?}\n{self}", self.console);
        Ok(self)
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "--- console\n{}\n--- records\n{}--- monitor\n{}",
            self.console, self.records, self.log
        )
    }
}
