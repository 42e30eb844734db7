// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happened, in a table that does not grow for ever.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::{Write, damaged, from_json, json, signed, unsigned};
use crate::Result;
use crate::clock::Timestamp;
use crate::model::{Event, Subject};

/// The table is cut once in so many events.
const PRUNE_EVERY: u64 = 64;
/// Events that one read gives.
const PAGE: i64 = 1000;

impl Write<'_> {
    /// Something happens with this transaction.
    pub(crate) fn event(
        &mut self,
        subject: Subject,
        id: &str,
        name: &str,
        action: &str,
        attributes: &[(&str, String)],
    ) -> Result<()> {
        let attributes: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let time = Timestamp::now();
        self.transaction
            .prepare_cached(
                "INSERT INTO events (time, subject, subject_id, name, action, attributes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((time.0, subject.name(), id, name, action, json(&attributes)?))?;
        self.events.push(Event {
            id: unsigned(self.transaction.last_insert_rowid()),
            time,
            subject,
            subject_id: id.to_owned(),
            name: name.to_owned(),
            action: action.to_owned(),
            attributes,
        });
        Ok(())
    }
}

/// Forgets the oldest events, so that about `max` stay.
pub(super) fn prune(connection: &Connection, last: u64, max: u64) -> Result<()> {
    if last.is_multiple_of(PRUNE_EVERY) && last > max {
        connection.execute("DELETE FROM events WHERE id <= ?1", [signed(last - max)])?;
    }
    Ok(())
}

/// Events after number `since`, the oldest first, not all when there are very many.
pub(crate) fn after(connection: &Connection, since: u64) -> Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, time, subject, subject_id, name, action, attributes
         FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query((signed(since), PAGE))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    Ok(events)
}

fn event(row: &Row<'_>) -> Result<Event> {
    let subject: String = row.get(2)?;
    let attributes: String = row.get(6)?;
    Ok(Event {
        id: unsigned(row.get(0)?),
        time: Timestamp(row.get(1)?),
        subject: Subject::parse(&subject).ok_or_else(|| damaged("an event"))?,
        subject_id: row.get(3)?,
        name: row.get(4)?,
        action: row.get(5)?,
        attributes: from_json(&attributes)?,
    })
}
