// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tables, and how a database of an older version becomes one of this version.

use std::path::Path;

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::{Error, Result};

/// Each version once, in order; what is here never changes, it is only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        about TEXT NOT NULL,
        size INTEGER NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE image_names (
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX image_names_image ON image_names (image);
    CREATE TABLE image_stages (
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        provider TEXT NOT NULL,
        locator TEXT NOT NULL,
        PRIMARY KEY (image, provider)
    ) STRICT;
    CREATE TABLE removals (
        image TEXT NOT NULL,
        provider TEXT NOT NULL,
        locator TEXT NOT NULL,
        PRIMARY KEY (image, provider)
    ) STRICT;
    CREATE TABLE instances (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image TEXT NOT NULL REFERENCES images (id),
        image_name TEXT NOT NULL,
        provider TEXT NOT NULL,
        spec TEXT NOT NULL,
        env TEXT NOT NULL,
        created INTEGER NOT NULL,
        phase TEXT NOT NULL,
        by_user INTEGER NOT NULL,
        exit_code INTEGER,
        error TEXT,
        restarts INTEGER NOT NULL,
        started INTEGER,
        ended INTEGER
    ) STRICT;
    CREATE INDEX instances_image ON instances (image);
    CREATE TABLE volumes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        provider TEXT NOT NULL,
        locator TEXT NOT NULL,
        size INTEGER NOT NULL,
        labels TEXT NOT NULL,
        phase TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE attachments (
        instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
        volume TEXT NOT NULL REFERENCES volumes (id),
        mount_point TEXT NOT NULL,
        read_only INTEGER NOT NULL,
        PRIMARY KEY (instance, volume),
        UNIQUE (instance, mount_point)
    ) STRICT;
    CREATE INDEX attachments_volume ON attachments (volume);
    CREATE TABLE snapshots (
        instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        created INTEGER NOT NULL,
        size INTEGER NOT NULL,
        PRIMARY KEY (instance, name)
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        subject TEXT NOT NULL,
        subject_id TEXT NOT NULL,
        name TEXT NOT NULL,
        action TEXT NOT NULL,
        attributes TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tokens (
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        digest BLOB NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE instances ADD COLUMN streak INTEGER NOT NULL DEFAULT 0;
",
    "
    ALTER TABLE instances ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
",
    "
    ALTER TABLE instances ADD COLUMN stop_by INTEGER;
",
    "
    ALTER TABLE snapshots ADD COLUMN phase TEXT NOT NULL DEFAULT 'ready';
    ALTER TABLE snapshots ADD COLUMN resume INTEGER NOT NULL DEFAULT 0;
",
    "
    ALTER TABLE snapshots ADD COLUMN volumes TEXT;
",
    "
    ALTER TABLE instances ADD COLUMN restoring INTEGER NOT NULL DEFAULT 0;
",
];

/// Brings a database up to date. One of a newer version is left alone.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
            version INTEGER PRIMARY KEY,
            applied INTEGER NOT NULL
        ) STRICT",
    )?;
    let version: i64 =
        connection
            .query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    if done > MIGRATIONS.len() {
        let message = format!(
            "{} has version {version}, and this daemon knows versions up to {}",
            path.display(),
            MIGRATIONS.len()
        );
        return Err(Error::invalid(message)
            .advise("use the newer kernctl that made it, or another directory"));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.execute(
            "INSERT INTO migrations (version, applied) VALUES (?1, ?2)",
            (super::signed(index as u64 + 1), Timestamp::now().0),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first version has written is there in the last.
    #[test]
    fn instances_of_the_first_version_are_kept() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT;
                 INSERT INTO migrations VALUES (1, 0);
                 INSERT INTO images VALUES ('i', '{}', 1, 2);
                 INSERT INTO instances VALUES
                 ('a', 'web', 'i', 'web', 'qemu', '{}', '[]', 3, 'running', 0, NULL, NULL, 4, 5, NULL);",
            )
            .unwrap();
        migrate(&mut connection, Path::new("state.db")).unwrap();
        let query = "SELECT name, restarts, streak FROM instances";
        let row: (String, u32, u32) = connection
            .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        assert_eq!(row, ("web".to_owned(), 4, 0));
    }

    #[test]
    fn a_database_is_migrated_once_and_a_newer_one_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("state.db");
        migrate(&mut connection, path).unwrap();
        migrate(&mut connection, path).unwrap();
        let count: i64 =
            connection.query_row("SELECT count(*) FROM migrations", [], |row| row.get(0)).unwrap();
        assert_eq!(count, i64::try_from(MIGRATIONS.len()).unwrap());
        connection.execute("INSERT INTO migrations VALUES (99, 0)", []).unwrap();
        let error = migrate(&mut connection, path).unwrap_err();
        assert!(error.to_string().contains("version 99"), "{error}");
        assert!(error.advice().unwrap().contains("newer kernctl"));
    }
}
