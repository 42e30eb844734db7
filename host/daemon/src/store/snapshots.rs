// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Snapshots in the database.

use bhojpur_provider::InstanceId;
use rusqlite::{Connection, OptionalExtension as _};

use super::{Write, damaged, from_json, json, signed, unsigned};
use crate::clock::Timestamp;
use crate::marks::Mark;
use crate::model::{Snapshot, SnapshotPhase};
use crate::{Error, Result};

impl Write<'_> {
    /// An instance is about to be saved. What came to nothing under that name makes way.
    pub(crate) fn begin_snapshot(
        &mut self,
        id: &InstanceId,
        snapshot: &Snapshot,
        resume: bool,
    ) -> Result<()> {
        let begun = self.transaction.execute(
            "INSERT INTO snapshots (instance, name, created, size, phase, resume)
             VALUES (?1, ?2, ?3, 0, 'saving', ?4)
             ON CONFLICT (instance, name) DO UPDATE
             SET created = excluded.created, size = 0, phase = 'saving', resume = excluded.resume
             WHERE phase <> 'ready'",
            (id.as_str(), &snapshot.name, snapshot.created.0, resume),
        )?;
        if begun == 1 {
            return Ok(());
        }
        Err(Error::conflict(format!("there is another snapshot {:?}", snapshot.name))
            .advise("choose another name, or remove that one first"))
    }

    /// All of it is on the disk; `marks` says how its volumes were.
    pub(crate) fn finish_snapshot(
        &mut self,
        id: &InstanceId,
        snapshot: &Snapshot,
        marks: &[Mark],
    ) -> Result<()> {
        self.transaction.execute(
            "UPDATE snapshots SET phase = 'ready', size = ?3, volumes = ?4
             WHERE instance = ?1 AND name = ?2",
            (id.as_str(), &snapshot.name, signed(snapshot.size), json(&marks)?),
        )?;
        Ok(())
    }

    /// It is about to be removed: from now on it is not there.
    pub(crate) fn retire_snapshot(&mut self, id: &InstanceId, name: &str) -> Result<()> {
        let retired = self.transaction.execute(
            "UPDATE snapshots SET phase = 'deleting'
             WHERE instance = ?1 AND name = ?2 AND phase <> 'saving'",
            (id.as_str(), name),
        )?;
        if retired == 0 { Err(Error::not_found("snapshot", name)) } else { Ok(()) }
    }

    pub(crate) fn remove_snapshot(&mut self, id: &InstanceId, name: &str) -> Result<()> {
        self.transaction.execute(
            "DELETE FROM snapshots WHERE instance = ?1 AND name = ?2",
            (id.as_str(), name),
        )?;
        Ok(())
    }
}

/// The snapshots of an instance that are whole, the oldest first.
pub(crate) fn of(connection: &Connection, id: &str) -> Result<Vec<Snapshot>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, created, size FROM snapshots
         WHERE instance = ?1 AND phase = 'ready' ORDER BY created, name",
    )?;
    let rows = statement.query_map([id], |row| {
        Ok(Snapshot {
            name: row.get(0)?,
            created: Timestamp(row.get(1)?),
            size: unsigned(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How the volumes were when a snapshot was made; nothing where an older version made it.
pub(crate) fn marks(connection: &Connection, id: &str, name: &str) -> Result<Option<Vec<Mark>>> {
    let mut statement = connection.prepare_cached(
        "SELECT volumes FROM snapshots WHERE instance = ?1 AND name = ?2 AND phase = 'ready'",
    )?;
    let found: Option<Option<String>> =
        statement.query_row((id, name), |row| row.get(0)).optional()?;
    let marks = found.ok_or_else(|| Error::not_found("snapshot", name))?;
    marks.map(|text| from_json(&text)).transpose()
}

/// All snapshots of an instance, with those that are being made or removed.
pub(crate) fn phases(connection: &Connection, id: &str) -> Result<Vec<(String, SnapshotPhase)>> {
    let mut statement = connection
        .prepare_cached("SELECT name, phase, resume FROM snapshots WHERE instance = ?1")?;
    let mut rows = statement.query([id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let phase = match row.get::<_, String>(1)?.as_str() {
            "saving" => SnapshotPhase::Saving { resume: row.get(2)? },
            "ready" => SnapshotPhase::Ready,
            "deleting" => SnapshotPhase::Deleting,
            _ => return Err(damaged("a snapshot's state")),
        };
        found.push((row.get(0)?, phase));
    }
    Ok(found)
}
