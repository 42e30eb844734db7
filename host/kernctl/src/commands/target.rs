// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl target`: which daemon is used from now on.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use bhojpur_client::{Address, Token, Trust};

use crate::arguments::Target;
use crate::client_config;
use crate::session::{Session, home};
use crate::{Failure, embedded};

pub(crate) async fn execute(session: &Session, target: &Target) -> Result<u8, Failure> {
    let (path, _) = session.config_path()?;
    if target.clear {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::io(format!("cannot remove {}", path.display()), &error))
            }
            _ => Ok(0),
        };
    }
    let Some(text) = target.address.as_deref().or(session.host()).filter(|_| !target.show) else {
        return show(session);
    };
    let with_port = match target.port {
        Some(port) if !text.starts_with("unix:") => {
            let (scheme, rest) =
                text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
            let bare = if rest.matches(':').count() > 1 && !rest.starts_with('[') {
                format!("[{rest}]")
            } else {
                rest.to_owned()
            };
            if bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
                return Err(Failure::usage(format!("{text} has a port already")));
            }
            if scheme.is_empty() {
                format!("{bare}:{port}")
            } else {
                format!("{scheme}://{bare}:{port}")
            }
        }
        _ => text.to_owned(),
    };
    let address: Address = with_port.parse().map_err(Failure::usage)?;
    let mut entries = vec![("host", address.to_string())];
    if let Some(file) = &target.token_file {
        entries.push(("token", token(file)?));
    }
    if let Some(ca) = &target.ca {
        let absolute = fs::canonicalize(ca)
            .map_err(|error| Failure::io(format!("cannot read {}", ca.display()), &error))?;
        entries.push(("ca", absolute.display().to_string()));
    }
    if let Some(fingerprint) = &target.fingerprint {
        if Trust::fingerprint(fingerprint).is_none() {
            return Err(Failure::usage(format!("{fingerprint:?} is not a fingerprint"))
                .advise("it has 64 hexadecimal digits; the daemon prints it when it starts"));
        }
        entries.push(("fingerprint", fingerprint.trim().to_owned()));
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|error| Failure::io(format!("cannot make {}", parent.display()), &error))?;
    }
    client_config::write(&path, &entries)?;
    session.printer.line(&address.to_string())?;
    Ok(0)
}

/// A token, which does not belong on a command line that everybody can see.
fn token(path: &Path) -> Result<String, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text =
        text.map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
    let text = text.trim();
    if Token::new(text).is_none() {
        return Err(Failure::usage(format!("there is no token in {}", path.display())));
    }
    Ok(text.to_owned())
}

fn show(session: &Session) -> Result<u8, Failure> {
    let (address, own) = match session.target()? {
        Some(target) => (target.address, false),
        None => (Address::Unix(home()?.join(embedded::SOCKET)), true),
    };
    let document = serde_json::json!({ "host": address.to_string(), "embedded": own });
    session.printer.one(&document, || match own {
        true => format!("{address} (a daemon of your own, started when it is needed)"),
        false => address.to_string(),
    })?;
    Ok(0)
}
