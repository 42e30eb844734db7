// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens in the database: of a secret, only its digest.

use bhojpur_api::Code;
use rusqlite::{Connection, Error as Sql};

use super::{Write, damaged};
use crate::clock::Timestamp;
use crate::model::{Role, Token};
use crate::{Error, Result, Secret};

impl Write<'_> {
    pub(crate) fn add_token(&mut self, token: &Token) -> Result<()> {
        let added = self.transaction.execute(
            "INSERT INTO tokens (name, role, digest, created) VALUES (?1, ?2, ?3, ?4)",
            (&token.name, token.role.name(), &token.digest.expose()[..], token.created.0),
        );
        match added {
            Err(Sql::SqliteFailure(error, _))
                if error.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                let message = format!("there is a token {:?} already", token.name);
                Err(Error::new(Code::Conflict, message)
                    .advise("choose another name, or remove that one first"))
            }
            added => Ok(added.map(|_| ())?),
        }
    }

    pub(crate) fn remove_token(&mut self, name: &str) -> Result<()> {
        match self.transaction.execute("DELETE FROM tokens WHERE name = ?1", [name])? {
            0 => Err(Error::not_found("token", name)),
            _ => Ok(()),
        }
    }
}

/// All tokens by their names.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Token>> {
    let mut statement = connection
        .prepare_cached("SELECT name, role, digest, created FROM tokens ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let role: String = row.get(1)?;
        tokens.push(Token {
            name: row.get(0)?,
            role: Role::parse(&role).ok_or_else(|| damaged("a token"))?,
            digest: Secret::new(row.get(2)?),
            created: Timestamp(row.get(3)?),
        });
    }
    Ok(tokens)
}
