// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes in the database.

use bhojpur_provider::{Kind, VolumeId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Write, damaged, from_json, json, signed, unsigned};
use crate::clock::Timestamp;
use crate::model::{Attached, Volume, VolumePhase};
use crate::{Error, Result};

const COLUMNS: &str = "id, name, provider, locator, size, labels, phase, created";

impl Write<'_> {
    pub(crate) fn add_volume(&mut self, volume: &Volume) -> Result<()> {
        let added = self.transaction.execute(
            &format!("INSERT INTO volumes ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
            (
                volume.id.as_str(),
                &volume.name,
                volume.provider.name(),
                &volume.locator,
                signed(volume.size),
                json(&volume.labels)?,
                volume.phase.name(),
                volume.created.0,
            ),
        );
        super::instances::named(added, "volume", &volume.name)
    }

    /// Says where the provider has it, how large it is and where it is in its life.
    pub(crate) fn update_volume(&mut self, volume: &Volume) -> Result<()> {
        self.transaction.execute(
            "UPDATE volumes SET locator = ?2, size = ?3, phase = ?4 WHERE id = ?1",
            (volume.id.as_str(), &volume.locator, signed(volume.size), volume.phase.name()),
        )?;
        Ok(())
    }

    /// It is about to be removed: nothing may use it, from now on.
    pub(crate) fn retire_volume(&mut self, id: &VolumeId) -> Result<Volume> {
        let volume = by_id(&self.transaction, id.as_str())?
            .ok_or_else(|| Error::not_found("volume", id.as_str()))?;
        if let Some(user) = volume.attachments.first() {
            let message = format!(
                "the volume {:?} is attached to the instance {:?}",
                volume.name, user.instance_name
            );
            return Err(Error::conflict(message).advise(format!(
                "detach it first: kernctl volume detach {}; or add --force",
                volume.name
            )));
        }
        self.transaction.execute(
            "UPDATE volumes SET phase = ?2 WHERE id = ?1",
            (id.as_str(), VolumePhase::Deleting.name()),
        )?;
        Ok(volume)
    }

    pub(crate) fn remove_volume(&mut self, id: &VolumeId) -> Result<()> {
        self.transaction.execute("DELETE FROM volumes WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }
}

/// All volumes by their names.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Volume>> {
    let query = format!("SELECT {COLUMNS} FROM volumes ORDER BY name");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query([])?;
    let mut volumes = Vec::new();
    while let Some(row) = rows.next()? {
        volumes.push(volume(connection, row)?);
    }
    Ok(volumes)
}

/// The volume with this id.
pub(crate) fn by_id(connection: &Connection, id: &str) -> Result<Option<Volume>> {
    let query = format!("SELECT {COLUMNS} FROM volumes WHERE id = ?1");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| volume(connection, row)).transpose()
}

/// The volume that a person means: by name, id, or a prefix of an id that only one has.
pub(crate) fn find(connection: &Connection, reference: &str) -> Result<Volume> {
    let mut statement = connection.prepare_cached("SELECT id FROM volumes WHERE name = ?1")?;
    let named: Option<String> = statement.query_row([reference], |row| row.get(0)).optional()?;
    let id = match named {
        Some(id) => id,
        None => super::by_prefix(connection, "volumes", "volume", reference)?,
    };
    by_id(connection, &id)?.ok_or_else(|| Error::not_found("volume", reference))
}

fn volume(connection: &Connection, row: &Row<'_>) -> Result<Volume> {
    let text = |index: usize| -> Result<String> { Ok(row.get(index)?) };
    let id = text(0)?;
    let attachments = attachments(connection, &id)?;
    Ok(Volume {
        id: id.parse().map_err(|_| damaged("a volume"))?,
        name: text(1)?,
        provider: text(2)?.parse::<Kind>().map_err(|_| damaged("a provider"))?,
        locator: text(3)?,
        size: unsigned(row.get(4)?),
        labels: from_json(&text(5)?)?,
        phase: VolumePhase::parse(&text(6)?).ok_or_else(|| damaged("a state"))?,
        created: Timestamp(row.get(7)?),
        attachments,
    })
}

fn attachments(connection: &Connection, id: &str) -> Result<Vec<Attached>> {
    let mut statement = connection.prepare_cached(
        "SELECT instances.id, instances.name, mount_point, read_only
         FROM attachments JOIN instances ON instances.id = attachments.instance
         WHERE volume = ?1 ORDER BY instances.created",
    )?;
    let mut rows = statement.query([id])?;
    let mut attachments = Vec::new();
    while let Some(row) = rows.next()? {
        let instance: String = row.get(0)?;
        attachments.push(Attached {
            instance: instance.parse().map_err(|_| damaged("an instance"))?,
            instance_name: row.get(1)?,
            mount_point: row.get(2)?,
            read_only: row.get(3)?,
        });
    }
    Ok(attachments)
}
