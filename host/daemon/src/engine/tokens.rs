// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens: 32 random bytes, of which only the digest is kept.

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{Engine, names};
use crate::clock::Timestamp;
use crate::model::{Role, Subject, Token};
use crate::{Result, Secret, secret, store};

/// What a secret begins with, so that tools that look for leaked secrets know it.
const PREFIX: &str = "bhk_";

impl Engine {
    /// Makes a token and tells its secret, once.
    pub(crate) async fn make_token(
        &self,
        name: String,
        role: Role,
    ) -> Result<(Token, Secret<String>)> {
        names::check("a token", &name)?;
        let text = format!("{PREFIX}{}", secret::hexadecimal(&secret::random::<32>()?));
        let token = Token {
            name,
            role,
            digest: Secret::new(Sha256::digest(text.as_bytes()).into()),
            created: Timestamp::now(),
        };
        let row = token.clone();
        self.store
            .write(move |write| {
                write.add_token(&row)?;
                let role = [("role", row.role.name().to_owned())];
                write.event(Subject::Daemon, "token", &row.name, "token", &role)
            })
            .await?;
        Ok((token, Secret::new(text)))
    }

    pub(crate) async fn remove_token(&self, name: String) -> Result<()> {
        self.store
            .write(move |write| {
                write.remove_token(&name)?;
                write.event(Subject::Daemon, "token", &name, "revoke", &[])
            })
            .await?;
        self.removals.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Changes with each token that is removed.
    pub(crate) fn removals(&self) -> watch::Receiver<u64> {
        self.removals.subscribe()
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<Token>> {
        self.store.read(store::tokens::all).await
    }

    /// What a secret allows. It takes the same time for every wrong one.
    pub(crate) async fn role_of(&self, text: &str) -> Result<Option<Role>> {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let tokens = self.tokens().await?;
        Ok(tokens.iter().fold(None, |found, token| {
            if secret::same(token.digest.expose(), &digest) { Some(token.role) } else { found }
        }))
    }
}
