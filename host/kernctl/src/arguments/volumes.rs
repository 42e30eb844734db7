// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands about volumes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Listing;
use super::words;

/// `kernctl volume`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make a volume, empty or with files
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        listing: Listing,
        /// Only some: name=, label=NAME[=VALUE], dangling=true (attached to nothing) or provider=
        #[arg(short, long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
    },
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm {
        /// The volumes
        #[arg(required = true, value_name = "VOLUME")]
        volumes: Vec<String>,
        /// Take them from the instances that have them
        #[arg(short, long)]
        force: bool,
    },
    /// Show everything about volumes
    Inspect {
        /// The volumes
        #[arg(required = true, value_name = "VOLUME")]
        volumes: Vec<String>,
        /// A line for each, by a template
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Attach a volume to a stopped instance
    Attach(Attach),
    /// Take a volume from a stopped instance
    Detach {
        /// The volume
        volume: String,
        /// The instance, when several have the volume
        instance: Option<String>,
    },
}

/// `kernctl volume create`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kernctl volume create data --size 1G
  kernctl volume create assets --from ./assets
  kernctl volume create old --from disk.img --raw")]
pub(crate) struct Create {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its size, for example 512M [default: what the files need, with room to spare]
    #[arg(short, long, value_name = "SIZE", value_parser = words::size, required_unless_present = "from")]
    pub(crate) size: Option<u64>,
    /// A directory or a tar (- for standard input) whose files go into it
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// What --from names is a disk image with an ext4 file system, taken as it is
    #[arg(long, requires = "from", conflicts_with = "size")]
    pub(crate) raw: bool,
    /// The hypervisor or cloud [default: the daemon's]
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// Words to find it by
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = words::label)]
    pub(crate) label: Vec<(String, String)>,
}

/// `kernctl volume attach`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Attach {
    /// The volume
    pub(crate) volume: String,
    /// The instance
    pub(crate) instance: String,
    /// The directory in the guest
    #[arg(value_name = "/DIRECTORY[:ro]", value_parser = words::place)]
    pub(crate) place: (String, bool),
    /// Let the guest only read
    #[arg(long, visible_alias = "ro")]
    pub(crate) read_only: bool,
}

/// The ancestor's `create-volume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateVolume {
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The provider
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// What goes into it: a directory, or with --raw a disk image
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The data is a disk image
    #[arg(long, requires = "data")]
    pub(crate) raw: bool,
    /// Mebibytes
    #[arg(long, value_name = "MB", value_parser = words::size, required_unless_present = "data")]
    pub(crate) size: Option<u64>,
    /// The file system
    #[arg(long, value_name = "TYPE")]
    pub(crate) r#type: Option<String>,
    /// Kept for scripts
    #[arg(long)]
    pub(crate) no_cleanup: bool,
}

/// The ancestor's `attach-volume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AttachVolume {
    /// The volume
    #[arg(long, value_name = "VOLUME")]
    pub(crate) volume: String,
    /// The instance
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// The directory in the guest
    #[arg(long = "mountPoint", value_name = "PATH", value_parser = words::place)]
    pub(crate) place: (String, bool),
    /// Kept for scripts
    #[arg(long)]
    pub(crate) force: bool,
}

/// The ancestor's `detach-volume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DetachVolume {
    /// The volume
    #[arg(long, value_name = "VOLUME")]
    pub(crate) volume: String,
}

/// The ancestor's `delete-volume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteVolume {
    /// The volume
    #[arg(long, value_name = "VOLUME")]
    pub(crate) volume: String,
    /// Take it from the instance that has it
    #[arg(long)]
    pub(crate) force: bool,
}

/// `kernctl cp`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kernctl cp data:/out/report.txt .
  kernctl cp ./assets data:/srv
  kernctl cp data:/ - | tar -t
  tar -c . | kernctl cp - data:/srv")]
pub(crate) struct Cp {
    /// VOLUME:/PATH, a path of this machine, or - for a tar on standard input
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// VOLUME:/PATH, a path of this machine, or - for a tar on standard output
    #[arg(value_name = "TO")]
    pub(crate) to: String,
}
