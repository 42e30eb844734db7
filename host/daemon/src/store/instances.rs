// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances in the database.

use std::net::IpAddr;

use bhojpur_provider::{InstanceId, Kind, VolumeId};
use rusqlite::{Connection, Error as Sql, Row};

use super::{Write, damaged, from_json, json};
use crate::clock::Timestamp;
use crate::model::{Instance, Mount, Phase, Situation};
use crate::{Error, Result, Secret};

const COLUMNS: &str = "id, name, image, image_name, provider, spec, env, created, phase, \
    by_user, exit_code, error, restarts, started, ended, streak, again, stop_by,
    restoring";

impl Write<'_> {
    /// Adds an instance with its volumes; a name or a volume that is taken is a conflict.
    pub(crate) fn add_instance(&mut self, instance: &Instance) -> Result<()> {
        let now = &instance.now;
        let added = self.transaction.execute(
            &format!(
                "INSERT INTO instances ({COLUMNS})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19)"
            ),
            rusqlite::params![
                instance.id.as_str(),
                instance.name,
                instance.image.as_str(),
                instance.image_name,
                instance.provider.name(),
                json(&instance.spec)?,
                json(instance.env.expose())?,
                instance.created.0,
                now.phase.name(),
                now.by_user,
                now.exit_code,
                now.error,
                now.restarts,
                now.started.map(|time| time.0),
                now.ended.map(|time| time.0),
                now.streak,
                now.again,
                now.stop_by.map(|time| time.0),
                now.restoring,
            ],
        );
        named(added, "instance", &instance.name)?;
        for mount in &instance.mounts {
            self.attach(&instance.id, mount)?;
        }
        Ok(())
    }

    /// Where an instance is in its life.
    pub(crate) fn update_instance(&mut self, id: &InstanceId, now: &Situation) -> Result<()> {
        self.transaction
            .prepare_cached(
                "UPDATE instances SET phase = ?2, by_user = ?3, exit_code = ?4, error = ?5,
                 restarts = ?6, started = ?7, ended = ?8, streak = ?9, again = ?10,
                 stop_by = ?11, restoring = ?12 WHERE id = ?1",
            )?
            .execute((
                id.as_str(),
                now.phase.name(),
                now.by_user,
                now.exit_code,
                &now.error,
                now.restarts,
                now.started.map(|time| time.0),
                now.ended.map(|time| time.0),
                now.streak,
                now.again,
                now.stop_by.map(|time| time.0),
                now.restoring,
            ))?;
        Ok(())
    }

    pub(crate) fn rename_instance(&mut self, id: &InstanceId, name: &str) -> Result<()> {
        let renamed = self
            .transaction
            .execute("UPDATE instances SET name = ?2 WHERE id = ?1", (id.as_str(), name));
        named(renamed, "instance", name)
    }

    pub(crate) fn remove_instance(&mut self, id: &InstanceId) -> Result<()> {
        self.transaction.execute("DELETE FROM instances WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    /// Attaches a volume: to one instance alone, or read-only wherever it is.
    pub(crate) fn attach(&mut self, instance: &InstanceId, mount: &Mount) -> Result<()> {
        let volume = super::volumes::by_id(&self.transaction, mount.volume.as_str())?
            .ok_or_else(|| Error::not_found("volume", &mount.name))?;
        if volume.phase != crate::model::VolumePhase::Ready {
            let message = format!("the volume {:?} is {}", volume.name, volume.phase.name());
            return Err(Error::conflict(message));
        }
        let in_the_way = volume.attachments.iter().find(|attached| {
            attached.instance == *instance || !attached.read_only || !mount.read_only
        });
        if let Some(other) = in_the_way {
            let message = format!(
                "the volume {:?} is attached to the instance {:?} at {}",
                volume.name, other.instance_name, other.mount_point
            );
            let advice = "detach it there first; several instances can share a volume only when \
                          all of them attach it read-only";
            return Err(Error::conflict(message).advise(advice));
        }
        let attached = self.transaction.execute(
            "INSERT INTO attachments (instance, volume, mount_point, read_only)
             VALUES (?1, ?2, ?3, ?4)",
            (instance.as_str(), mount.volume.as_str(), &mount.mount_point, mount.read_only),
        );
        match attached {
            Err(Sql::SqliteFailure(error, _))
                if error.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                let message = format!("another volume is mounted at {} already", mount.mount_point);
                Err(Error::conflict(message).advise("choose another directory in the guest"))
            }
            attached => Ok(attached.map(|_| ())?),
        }
    }

    pub(crate) fn detach(&mut self, instance: &InstanceId, volume: &VolumeId) -> Result<()> {
        self.transaction.execute(
            "DELETE FROM attachments WHERE instance = ?1 AND volume = ?2",
            (instance.as_str(), volume.as_str()),
        )?;
        Ok(())
    }
}

/// A name that is taken is a conflict.
pub(super) fn named(done: rusqlite::Result<usize>, what: &str, name: &str) -> Result<()> {
    match done {
        Err(Sql::SqliteFailure(error, _))
            if matches!(
                error.extended_code,
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                    | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            ) =>
        {
            Err(Error::conflict(format!("there is another {what} {name:?}"))
                .advise("choose another name, or remove that one first"))
        }
        Err(Sql::SqliteFailure(error, _))
            if error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY =>
        {
            Err(Error::conflict(format!("what the {what} {name:?} needs was removed just now")))
        }
        done => Ok(done.map(|_| ())?),
    }
}

/// All instances, the oldest first.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Instance>> {
    let query = format!("SELECT {COLUMNS} FROM instances ORDER BY created, id");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query([])?;
    let mut instances = Vec::new();
    while let Some(row) = rows.next()? {
        instances.push(instance(connection, row)?);
    }
    Ok(instances)
}

/// The volumes of an instance, in the order in which they were attached.
pub(crate) fn mounts(connection: &Connection, id: &str) -> Result<Vec<Mount>> {
    let mut statement = connection.prepare_cached(
        "SELECT volumes.id, volumes.name, mount_point, read_only
         FROM attachments JOIN volumes ON volumes.id = attachments.volume
         WHERE instance = ?1 ORDER BY attachments.rowid",
    )?;
    let mut rows = statement.query([id])?;
    let mut mounts = Vec::new();
    while let Some(row) = rows.next()? {
        let volume: String = row.get(0)?;
        mounts.push(Mount {
            volume: volume.parse().map_err(|_| damaged("a volume"))?,
            name: row.get(1)?,
            mount_point: row.get(2)?,
            read_only: row.get(3)?,
        });
    }
    Ok(mounts)
}

fn instance(connection: &Connection, row: &Row<'_>) -> Result<Instance> {
    let text = |index: usize| -> Result<String> { Ok(row.get(index)?) };
    let time = |index: usize| -> Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp))
    };
    let id = text(0)?;
    let mounts = mounts(connection, &id)?;
    let now = Situation {
        phase: Phase::parse(&text(8)?).ok_or_else(|| damaged("a state"))?,
        by_user: row.get(9)?,
        exit_code: row.get(10)?,
        error: row.get(11)?,
        restarts: row.get(12)?,
        started: time(13)?,
        ended: time(14)?,
        streak: row.get(15)?,
        again: row.get(16)?,
        stop_by: time(17)?,
        restoring: row.get(18)?,
    };
    Ok(Instance {
        id: id.parse().map_err(|_| damaged("an instance"))?,
        name: text(1)?,
        image: text(2)?.parse().map_err(|_| damaged("an image"))?,
        image_name: text(3)?,
        provider: text(4)?.parse::<Kind>().map_err(|_| damaged("a provider"))?,
        spec: from_json(&text(5)?)?,
        env: Secret::new(from_json(&text(6)?)?),
        mounts,
        created: Timestamp(row.get(7)?),
        now,
        address: None::<IpAddr>,
        health: None,
    })
}
