// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands about the daemon, its providers and the hub.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A list of things.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// A line for each, by a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `kernctl compilers`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compilers {
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// The ancestor's `describe-compiler`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DescribeCompiler {
    /// The base
    #[arg(long, value_name = "BASE")]
    pub(crate) base: Option<String>,
    /// The language
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) language: String,
    /// The provider
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) provider: String,
}

/// `kernctl info`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Info {
    /// One line, by a template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `kernctl target`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kernctl target --show
  kernctl target build.example.org:3000 --token-file token --fingerprint 3A:F2:...
  kernctl target --clear

`kernctl daemon` prints the fingerprint of its certificate, `kernctl daemon token create` makes tokens.")]
pub(crate) struct Target {
    /// The daemon: HOST[:PORT] or unix:///PATH
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Its port, when the address has none
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// A file with the token; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The authority that signed its certificate, in PEM
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,
    /// The SHA-256 digest of its certificate
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Option<String>,
    /// Show what is used
    #[arg(long, conflicts_with_all = ["address", "clear", "port"])]
    pub(crate) show: bool,
    /// Go back to a daemon of your own
    #[arg(long, conflicts_with_all = ["address", "port"])]
    pub(crate) clear: bool,
}

/// `kernctl daemon`.
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kernctl daemon
  kernctl daemon --listen 0.0.0.0:3000
  kernctl daemon token create ci --role operate
  kernctl daemon install | sudo tee /etc/systemd/system/kernctl.service

Without --listen it is reached over its unix socket alone. Over TCP it speaks TLS, with a certificate of
its own making unless one is given, and asks for tokens."
)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    pub(crate) command: Option<DaemonCommand>,
    /// Where its state lies [default: $BHOJPUR_HOME, else ~/.bhojpur]
    #[arg(long, visible_alias = "d", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Its configuration [default: daemon.toml in that directory]
    #[arg(short, long, visible_alias = "f", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Its unix socket [default: kernctl.sock in that directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Listen on TCP as well, with TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// The ancestor's: listen on this port of all addresses
    #[arg(long, hide = true, value_name = "PORT", conflicts_with = "listen", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The certificate chain in PEM [default: one of its own making]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Another name or address in a certificate of its own making
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Vec<String>,
    /// Log more
    #[arg(long)]
    pub(crate) debug: bool,
    /// Log everything
    #[arg(long)]
    pub(crate) trace: bool,
    /// Log into a file
    #[arg(long, visible_alias = "logfile", value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Started by a command, in the background
    #[arg(long, hide = true)]
    pub(crate) embedded: bool,
}

/// What there is about the daemon beside running it.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Make, list and remove tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the systemd unit, or install it
    Install {
        /// Write it there instead of printing it
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// End the daemon of your own; instances go on
    Stop,
}

/// `kernctl daemon token`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this one time
    Create {
        /// Its name
        name: String,
        /// What it allows
        #[arg(long, value_name = "ROLE", default_value = "operate", value_parser = ["read", "operate", "admin"])]
        role: String,
    },
    /// List tokens
    #[command(visible_alias = "list")]
    Ls(Listing),
    /// Remove a token
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name
        name: String,
    },
}

/// `kernctl configure`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kernctl configure
  kernctl configure --provider qemu --set accelerator=tcg
  kernctl configure --listen 0.0.0.0:3000 --file ./daemon.toml")]
pub(crate) struct Configure {
    /// The provider that is used when none is named
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// Tell the provider something
    #[arg(long, value_name = "KEY=VALUE", requires = "provider", value_parser = words_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Listen on TCP as well, with TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where it is written [default: daemon.toml in $BHOJPUR_HOME, else ~/.bhojpur]
    #[arg(long, visible_alias = "f", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

fn words_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// A verb of the hub, whatever is asked of it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Hub {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<OsString>,
}
