// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a machine in a file: QEMU's migration stream, and the plan that it belongs to.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhojpur_provider::{Error, ErrorKind, Plan, Result};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::files;
use crate::qmp::{ANSWER_LIMIT, Client};

/// How long the memory of a machine may take to and from the disk.
const LIMIT: Duration = Duration::from_secs(600);
const INTERVAL: Duration = Duration::from_millis(20);

fn state_path(directory: &Path) -> PathBuf {
    directory.join("machine.state")
}

fn plan_path(directory: &Path) -> PathBuf {
    directory.join("plan.json")
}

/// Writes the state of a paused machine. The snapshot is there when its plan is.
pub(crate) async fn save(client: &mut Client, plan: &Plan, directory: &Path) -> Result<()> {
    let fail = |error| Error::io(format!("cannot write to {}", directory.display()), error);
    let path = state_path(directory);
    let _ = fs::remove_file(plan_path(directory));
    client.execute("migrate", json!({ "uri": format!("exec:cat > {}", quoted(&path)?) })).await?;
    let saved = migrated(client).await;
    if saved.is_err() {
        let _ = client.execute("migrate_cancel", Value::Null).await;
        let _ = fs::remove_file(&path);
    }
    saved?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(fail)?;
    let text = serde_json::to_vec_pretty(plan).map_err(|error| fail(error.into()))?;
    files::write_whole(&plan_path(directory), &text).map_err(fail)
}

async fn migrated(client: &mut Client) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let progress = client.execute("query-migrate", Value::Null).await?;
        let status = progress["status"].as_str().unwrap_or("unknown");
        match status {
            "completed" => return Ok(()),
            "failed" | "cancelled" => {
                let why = progress["error-desc"].as_str().unwrap_or("QEMU gives no reason");
                let message = format!("the machine's state could not be saved: {why}");
                let advice = "look whether there is room on that disk";
                return Err(Error::new(ErrorKind::Failed, message).advise(advice));
            }
            _ if Instant::now() > deadline => {
                let message = format!("the machine's state is still not saved ({status})");
                return Err(Error::new(ErrorKind::Failed, message));
            }
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Ends a saving whose daemon was killed: at its end QEMU would hold the machine for ever.
pub(crate) async fn give_up(client: &mut Client) -> Result<()> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        let progress = client.execute("query-migrate", Value::Null).await?;
        match progress["status"].as_str() {
            Some("setup" | "active" | "pre-switchover" | "device") => {
                client.execute("migrate_cancel", Value::Null).await?;
            }
            Some("cancelling") => {}
            _ => return Ok(()),
        }
        if Instant::now() > deadline {
            let message = "the machine is still being saved, and QEMU does not give that up";
            return Err(
                Error::new(ErrorKind::Failed, message).advise("try again later, or kill it")
            );
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What QEMU is told in order to continue from a snapshot, when it fits the plan.
pub(crate) fn arguments(plan: &Plan, directory: &Path) -> Result<Vec<OsString>> {
    let read = |path: PathBuf| {
        fs::read(&path).map_err(|error| {
            Error::io(format!("there is no whole snapshot in {}", directory.display()), error)
        })
    };
    let saved: Plan = serde_json::from_slice(&read(plan_path(directory))?).map_err(|error| {
        let message = format!("the snapshot in {} is damaged: {error}", directory.display());
        Error::new(ErrorKind::Invalid, message)
    })?;
    if let Some(what) = difference(&saved, plan) {
        let message = format!("the snapshot was made with {what}, and cannot go on without");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let path = state_path(directory);
    File::open(&path).map_err(|error| {
        Error::io(format!("there is no whole snapshot in {}", directory.display()), error)
    })?;
    Ok(vec!["-incoming".into(), format!("exec:cat {}", quoted(&path)?).into()])
}

/// What of the machine is not as it was: its memory has to fit its devices.
fn difference(saved: &Plan, plan: &Plan) -> Option<String> {
    if saved.memory_mib != plan.memory_mib {
        return Some(format!("{} MiB of memory", saved.memory_mib));
    }
    if saved.cpus != plan.cpus {
        return Some(format!("{} processors", saved.cpus));
    }
    if saved.image.id != plan.image.id {
        return Some(format!("the image {}", saved.image.id.short()));
    }
    if saved.volumes != plan.volumes {
        return Some("other volumes".to_owned());
    }
    (saved.network != plan.network).then(|| "another network".to_owned())
}

/// Waits until the state is read, and lets the machine run.
pub(crate) async fn go_on(client: &mut Client) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = client.execute("query-status", Value::Null).await?;
        match status["status"].as_str() {
            Some("inmigrate") if Instant::now() < deadline => tokio::time::sleep(INTERVAL).await,
            Some("inmigrate") => {
                let message = "QEMU does not come to the end of the machine's state";
                return Err(Error::new(ErrorKind::Failed, message));
            }
            _ => return client.execute("cont", Value::Null).await.map(drop),
        }
    }
}

/// A path for the shell that QEMU starts, sh(1).
fn quoted(path: &Path) -> Result<String> {
    let Some(text) = path.to_str() else {
        let message = format!("the path {} is not UTF-8", path.display());
        return Err(Error::new(ErrorKind::Invalid, message));
    };
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use bhojpur_provider::Network;

    use super::*;

    #[test]
    fn a_shell_sees_one_word() {
        assert_eq!(quoted(Path::new("/a b/$x;'y'")).unwrap(), r"'/a b/$x;'\''y'\'''");
    }

    #[test]
    fn a_snapshot_goes_on_in_the_machine_that_it_was_made_in() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let plan = crate::plan::tests::plan(place);
        assert_eq!(arguments(&plan, place).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(plan_path(place), "{").unwrap();
        assert_eq!(arguments(&plan, place).unwrap_err().kind(), ErrorKind::Invalid);
        fs::write(plan_path(place), serde_json::to_vec(&plan).unwrap()).unwrap();
        assert_eq!(arguments(&plan, place).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(state_path(place), "").unwrap();
        assert_eq!(arguments(&plan, place).unwrap()[0], "-incoming");
        for wrong in [
            Plan { memory_mib: 129, ..plan.clone() },
            Plan { cpus: 2, ..plan.clone() },
            Plan { network: Network::None, ..plan.clone() },
        ] {
            assert_eq!(arguments(&wrong, place).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
