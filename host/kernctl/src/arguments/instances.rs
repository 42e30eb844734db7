// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands about instances.

use bhojpur_api::ExposedPort;
use clap::{Args, Subcommand};

use super::words;

/// Instances, in docker's way or in the ancestor's.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstanceNames {
    /// The instances, by name, id or the beginning of an id
    #[arg(value_name = "INSTANCE", required_unless_present = "instance")]
    pub(crate) names: Vec<String>,
    #[arg(long, hide = true, value_name = "INSTANCE")]
    pub(crate) instance: Vec<String>,
}

impl InstanceNames {
    /// All that were named.
    pub(crate) fn all(&self) -> Vec<String> {
        self.names.iter().chain(&self.instance).cloned().collect()
    }
}

/// `kernctl ps`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ps {
    /// Those that do not run as well
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only the last ones that were made, whether they run or not
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "latest")]
    pub(crate) last: Option<usize>,
    /// Only the one that was made last
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only some: name=, id=, image=, state=, provider=, health= or label=NAME[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// A line for each, by a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// `kernctl logs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Logs {
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub(crate) tail: String,
    /// The instance
    #[arg(value_name = "INSTANCE", required_unless_present = "instance")]
    pub(crate) name: Option<String>,
    #[arg(long, hide = true, value_name = "INSTANCE", conflicts_with = "name")]
    pub(crate) instance: Option<String>,
    /// The ancestor's: remove the instance when nobody follows any more
    #[arg(long, hide = true, requires = "follow")]
    pub(crate) delete: bool,
}

/// `kernctl attach`: docker's, or with `--volume` the ancestor's `attach-volume`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Ctrl-C asks the program to stop; with --sig-proxy=false it ends this command alone. The exit status
is the program's.")]
pub(crate) struct Attach {
    /// The instance
    #[arg(value_name = "INSTANCE", required_unless_present = "volume")]
    pub(crate) name: Option<String>,
    /// Type nothing on its console
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Whether Ctrl-C is for the program
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) sig_proxy: bool,
    #[arg(long, hide = true, value_name = "VOLUME", requires_all = ["instance", "mount_point"], conflicts_with = "name")]
    pub(crate) volume: Option<String>,
    #[arg(long, hide = true, value_name = "INSTANCE", requires = "volume")]
    pub(crate) instance: Option<String>,
    #[arg(long = "mountPoint", hide = true, value_name = "PATH", value_parser = words::place, requires = "volume")]
    pub(crate) mount_point: Option<(String, bool)>,
    #[arg(long, hide = true, requires = "volume")]
    pub(crate) force: bool,
}

/// `kernctl stop`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stop {
    /// Seconds before it is ended [default: what the instance says, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    pub(crate) time: Option<u64>,
    #[command(flatten)]
    pub(crate) instances: InstanceNames,
}

/// `kernctl start`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Start {
    /// Show the output, and end with the program's status
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Type standard input on its console
    #[arg(short, long, requires = "attach")]
    pub(crate) interactive: bool,
    #[command(flatten)]
    pub(crate) instances: InstanceNames,
}

/// `kernctl restart`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Restart {
    /// Seconds before it is ended
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    pub(crate) time: Option<u64>,
    #[command(flatten)]
    pub(crate) instances: InstanceNames,
}

/// `kernctl kill`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Kill {
    /// KILL; to ask, there is stop
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub(crate) signal: String,
    #[command(flatten)]
    pub(crate) instances: InstanceNames,
}

/// `kernctl rm`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rm {
    /// End it first when it runs
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Removes nothing: docker's anonymous volumes, which it means, do not exist here
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Remove its volumes as well, with all that is in them, but for those that others have
    #[arg(long)]
    pub(crate) with_volumes: bool,
    #[command(flatten)]
    pub(crate) instances: InstanceNames,
}

/// `kernctl port`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  kernctl port web\n  curl http://$(kernctl port web 8080)/")]
pub(crate) struct Published {
    /// The instance
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// Only what leads into this port of it
    #[arg(value_name = "PORT[/udp]", value_parser = words::exposed)]
    pub(crate) port: Option<ExposedPort>,
}

/// `kernctl rename`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rename {
    /// The instance
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `kernctl stats`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stats {
    /// Once, not again and again
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// A line for each, by a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The instances [default: all that run]
    #[arg(value_name = "INSTANCE")]
    pub(crate) names: Vec<String>,
}

/// `kernctl events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Events {
    /// Those after this number as well; 0 for all that are kept
    #[arg(long, value_name = "NUMBER")]
    pub(crate) since: Option<u64>,
    /// A line for each, by a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `kernctl snapshot`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save an instance
    Create {
        /// The instance
        instance: String,
        /// The snapshot's name
        #[arg(default_value = "latest")]
        name: String,
    },
    /// List an instance's snapshots
    #[command(visible_alias = "list")]
    Ls {
        /// The instance
        instance: String,
        /// Only names
        #[arg(short, long)]
        quiet: bool,
        /// A line for each, by a template
        #[arg(long, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Go back to a snapshot
    Restore {
        /// The instance
        instance: String,
        /// The snapshot's name
        #[arg(default_value = "latest")]
        name: String,
    },
    /// Remove a snapshot
    #[command(visible_alias = "remove")]
    Rm {
        /// The instance
        instance: String,
        /// The snapshot's name
        name: String,
    },
}
