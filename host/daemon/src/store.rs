// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the user wants, in SQLite: one connection writes, one reads, each on a thread of its own.

pub(crate) mod events;
pub(crate) mod images;
pub(crate) mod instances;
mod schema;
pub(crate) mod snapshots;
pub(crate) mod tokens;
pub(crate) mod volumes;

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bhojpur_api::Code;
use rusqlite::{Connection, Transaction};
use tokio::sync::{broadcast, oneshot};

use crate::model::Event;
use crate::reserve::Reserve;
use crate::{Error, Result};

/// Events that a slow listener may lag behind before it reads them from the database.
const EVENT_BACKLOG: usize = 1024;

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Worker,
    reader: Worker,
    events: broadcast::Sender<Arc<Event>>,
    events_max: u64,
    /// Used by the thread that writes.
    reserve: Arc<Mutex<Reserve>>,
}

/// A transaction that writes. Its events are told to listeners once it is committed.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    transaction: Transaction<'a>,
    events: Vec<Event>,
}

impl Store {
    /// Opens the database, makes it or brings it up to date.
    pub(crate) fn open(path: &Path, mut reserve: Reserve, events_max: u64) -> Result<Self> {
        loop {
            match Self::begin(path) {
                Err(error) if error.code() == Code::Exhausted && reserve.give() => {}
                opened => {
                    let (writer, reader) = opened?;
                    return Ok(Self {
                        writer: Worker::start("store-write", writer)?,
                        reader: Worker::start("store-read", reader)?,
                        events: broadcast::channel(EVENT_BACKLOG).0,
                        events_max,
                        reserve: Arc::new(Mutex::new(reserve)),
                    });
                }
            }
        }
    }

    /// The connections that write and read.
    fn begin(path: &Path) -> Result<(Connection, Connection)> {
        let failed = |error| Error::io(format!("cannot open {}", path.display()), &error);
        // SQLite gives its other files the mode of this one.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        drop(file);
        let mut writer = connect(path)?;
        schema::migrate(&mut writer, path)?;
        let reader = connect(path)?;
        Ok((writer, reader))
    }

    /// Does something in one transaction: all of it or nothing. It is on the disk when this
    /// returns. On a full disk the work is done once more, with room from the reserve.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Write<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (listeners, events_max) = (self.events.clone(), self.events_max);
        let reserve = self.reserve.clone();
        self.writer
            .call(move |connection| {
                let mut reserve = reserve.lock().unwrap_or_else(PoisonError::into_inner);
                let mut done = transact(connection, events_max, &mut work);
                if done.as_ref().is_err_and(|error| error.code() == Code::Exhausted)
                    && reserve.give()
                {
                    done = transact(connection, events_max, &mut work);
                }
                let (value, events) = done?;
                reserve.fill_up();
                // In the order of their numbers, for this thread alone writes. That nobody
                // listens is no error.
                for event in events {
                    let _ = listeners.send(Arc::new(event));
                }
                Ok(value)
            })
            .await
    }

    /// Looks something up.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.reader.call(|connection| work(connection)).await
    }

    /// Hears of all events from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }
}

/// One transaction: what it gives, and what happened in it.
fn transact<T>(
    connection: &mut Connection,
    events_max: u64,
    work: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
) -> Result<(T, Vec<Event>)> {
    let transaction = connection.transaction()?;
    let mut write = Write { transaction, events: Vec::new() };
    let value = work(&mut write)?;
    let Write { transaction, events } = write;
    if let Some(last) = events.last() {
        events::prune(&transaction, last.id, events_max)?;
    }
    transaction.commit()?;
    Ok((value, events))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // FULL: what was acknowledged is there after a loss of power as well.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection with its thread.
#[derive(Debug)]
struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    fn start(name: &str, mut connection: Connection) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    job(&mut connection);
                }
            })
            .map_err(|error| Error::io("cannot start a thread", &error))?;
        Ok(Self { jobs })
    }

    /// Queues the work at once, so that it is done even when nobody waits for it any more.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            let _ = sender.send(work(connection));
        });
        let gone = || Error::internal("the database's thread has ended");
        self.jobs.send(job).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

/// A list or map in a column.
fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("cannot write: {error}")))
}

/// A list or map out of a column.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| damaged("a value"))
}

/// What is in the database and cannot be.
fn damaged(what: &str) -> Error {
    Error::internal(format!("the database is damaged: {what} in it cannot be read")).advise(
        "restore state.db from a backup; images and volumes that it does not know are moved \
             to lost/",
    )
}

/// A number that SQLite keeps with a sign.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The id in a table that is `reference` or begins with it. Only one may.
fn by_prefix(
    connection: &Connection,
    table: &'static str,
    what: &str,
    reference: &str,
) -> Result<String> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if reference.is_empty() || !reference.bytes().all(digit) {
        return Err(Error::not_found(what, reference));
    }
    // Hexadecimal digits only: 'g' comes after all that begin with the reference.
    let query = format!("SELECT id FROM {table} WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
    let mut statement = connection.prepare_cached(&query)?;
    let mut ids: Vec<String> =
        statement.query_map([reference], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    match (ids.pop(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        (None, _) => Err(Error::not_found(what, reference)),
        (Some(_), false) => Err(ambiguous(what, reference)),
    }
}

/// More than one thing is meant.
pub(crate) fn ambiguous(what: &str, reference: &str) -> Error {
    Error::conflict(format!("more than one {what} has an id that begins with {reference:?}"))
        .advise("give more digits, or the name")
}
