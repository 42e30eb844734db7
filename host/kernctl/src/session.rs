// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One call of the command line: how results are written, and which daemon is asked.

use std::path::PathBuf;

use bhojpur_client::{Address, Client, Target, Token};

use crate::arguments::Global;
use crate::client_config::{ANCESTOR_FILE_NAME, ClientConfig, FILE_NAME};
use crate::commands::note;
use crate::output::Printer;
use crate::{Failure, embedded};

/// What commands need beside their arguments.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    /// Where results go.
    pub(crate) printer: Printer,
}

impl Session {
    pub(crate) fn new(global: Global) -> Self {
        let printer = Printer::new(global.output);
        Self { global, printer }
    }

    /// What `--host` says.
    pub(crate) fn host(&self) -> Option<&str> {
        self.global.host.as_deref().filter(|host| !host.is_empty())
    }

    /// The file that says which daemon is used, and whether the user named it.
    pub(crate) fn config_path(&self) -> Result<(PathBuf, bool), Failure> {
        match &self.global.client_config {
            Some(path) => Ok((path.clone(), true)),
            None => Ok((home()?.join(FILE_NAME), false)),
        }
    }

    /// What that file says, or the ancestor's beside it when there is no other.
    fn config(&self) -> Result<ClientConfig, Failure> {
        let (path, named) = self.config_path()?;
        let ancestor = path.with_file_name(ANCESTOR_FILE_NAME);
        if named || path.exists() || !ancestor.exists() {
            return ClientConfig::read(&path, named);
        }
        let config = ClientConfig::read(&ancestor, true)?;
        if let Some(address) = config.host.as_ref().filter(|_| self.host().is_none()) {
            note(&format!(
                "using {address}, which {} names; `kernctl target` chooses another",
                ancestor.display()
            ));
        }
        Ok(config)
    }

    /// The daemon that was chosen; `None` for one of our own.
    pub(crate) fn target(&self) -> Result<Option<Target>, Failure> {
        let mut chosen = self.config()?.target();
        if let Some(host) = self.host() {
            let address: Address = host.parse().map_err(Failure::usage)?;
            // The token and the trust of the file are for the daemon of the file.
            if chosen.as_ref().is_none_or(|target| target.address != address) {
                let trust = bhojpur_client::Trust::System;
                chosen = Some(Target { address, token: None, trust });
            }
        }
        if let (Some(target), Ok(token)) = (&mut chosen, std::env::var("KERNCTL_TOKEN")) {
            let token = Token::new(&token);
            target.token =
                Some(token.ok_or_else(|| Failure::usage("KERNCTL_TOKEN cannot be a token"))?);
        }
        Ok(chosen)
    }

    /// A client of the daemon, which is started when it is one of our own.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        match self.target()? {
            Some(target) => Ok(Client::new(target)?),
            None => embedded::connect(&home()?).await,
        }
    }

    /// A client of the daemon, if it runs.
    pub(crate) async fn connect_if_running(&self) -> Result<Option<Client>, Failure> {
        match self.target()? {
            Some(target) => Ok(Some(Client::new(target)?)),
            None => embedded::find(&home()?).await,
        }
    }
}

/// `$BHOJPUR_HOME`, or `.bhojpur` in the home directory.
pub(crate) fn home() -> Result<PathBuf, Failure> {
    let directory = bhojpur_daemon::Config::default_directory()?;
    // The daemon is started elsewhere than we are.
    std::path::absolute(&directory)
        .map_err(|error| Failure::io(format!("cannot use {}", directory.display()), &error))
}
