// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: docker's verbs, and each verb and flag of the ancestor beside them. Parsing
//! never acts.

pub(crate) mod attached;
pub(crate) mod docker;
#[cfg(test)]
mod documented;
mod images;
mod instances;
mod run;
mod system;
mod volumes;
pub(crate) mod words;

use std::path::PathBuf;

use clap::{Args, Command as Description, CommandFactory as _, Parser, Subcommand, ValueEnum};

pub(crate) use images::{Build, Images, Import, Inspect, Rmi, Tag};
pub(crate) use instances::{
    Attach, Events, InstanceNames, Kill, Logs, Ps, Published, Rename, Restart, Rm, SnapshotCommand,
    Start, Stats, Stop,
};
pub(crate) use run::{Create, Options, Run};
pub(crate) use system::{
    Compilers, Configure, Daemon, DaemonCommand, DescribeCompiler, Hub, Info, Listing, Target,
    TokenCommand,
};
pub(crate) use volumes::{
    Attach as VolumeAttach, AttachVolume, Cp, Create as VolumeCreate, CreateVolume, DeleteVolume,
    DetachVolume, VolumeCommand,
};

/// Runs unikernels as docker runs containers.
#[derive(Debug, Parser)]
#[command(
    name = "kernctl",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
    after_help = "\
Examples:
  kernctl build -t web .             build the program in this directory
  kernctl run -d -p 8080:8080 web    run it; http://localhost:8080 leads into it
  kernctl ps                         what runs
  kernctl logs -f web                what it says
  kernctl rm -f web                  end it and remove it

Exit status:
  0 done, 1 failed, 2 wrong usage, 3 no such thing, 4 conflict, 5 no daemon,
  6 provider not ready or no room, 7 not allowed, 8 not supported
  `kernctl run` in the foreground gives the program's own status; 125 when it could
  not be started, 126 when nobody knows how it ended, 127 when the kernel failed"
)]
pub(crate) struct Kernctl {
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The daemon: HOST[:PORT] or unix:///PATH [default: what `kernctl target` set, else one of your own]
    #[arg(
        short = 'H',
        long,
        global = true,
        env = "KERNCTL_HOST",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub(crate) host: Option<String>,
    /// The file that says which daemon is used
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client_config: Option<PathBuf>,
    /// The ancestor's file about the hub
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) hub_config: Option<PathBuf>,
    /// How results are written
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a directory
    Build(Box<Build>),
    /// List images
    Images(Images),
    /// Make an image of a kernel.elf
    Import(Import),
    /// Give an image another name
    Tag(Tag),
    /// Remove images
    #[command(alias = "delete-image")]
    Rmi(Rmi),
    /// Make an instance of an image and start it
    Run(Box<Run>),
    /// Make an instance and do not start it
    Create(Box<Create>),
    /// List instances
    Ps(Ps),
    #[command(hide = true)]
    Instances(Ps),
    /// Show everything about instances, images or volumes
    #[command(visible_alias = "describe", aliases = ["describe-instance", "describe-image", "describe-volume"])]
    Inspect(Inspect),
    /// Show what instances wrote
    Logs(Logs),
    /// Connect the terminal to an instance's console
    Attach(Attach),
    /// Ask instances to stop, and end them when they do not
    Stop(Stop),
    /// Start instances
    Start(Start),
    /// Stop instances and start them
    Restart(Restart),
    /// End instances at once
    Kill(Kill),
    /// Hold instances
    Pause(InstanceNames),
    /// Let instances go on
    #[command(visible_alias = "resume")]
    Unpause(InstanceNames),
    /// Remove instances
    #[command(alias = "delete-instance")]
    Rm(Rm),
    /// Show which ports of the daemon's machine lead into an instance
    Port(Published),
    /// Give an instance another name
    Rename(Rename),
    /// Wait until instances end, and print their statuses
    Wait(InstanceNames),
    /// Show what instances use
    Stats(Stats),
    /// Show what happens, as it happens
    Events(Events),
    /// Save and restore instances
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make, fill and attach volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    #[command(hide = true)]
    Volumes(Listing),
    #[command(hide = true)]
    CreateVolume(CreateVolume),
    #[command(hide = true)]
    AttachVolume(AttachVolume),
    #[command(hide = true, alias = "detach")]
    DetachVolume(DetachVolume),
    #[command(hide = true, alias = "rmv")]
    DeleteVolume(DeleteVolume),
    /// Copy files to and from volumes
    Cp(Cp),
    /// List hypervisors and clouds, and what each needs
    Providers(Listing),
    /// List languages that can be built
    Compilers(Compilers),
    #[command(hide = true)]
    DescribeCompiler(DescribeCompiler),
    /// Choose the daemon
    Target(Target),
    /// Run the daemon
    Daemon(Box<Daemon>),
    /// Write the daemon's configuration
    Configure(Configure),
    /// Show what the daemon is
    Info(Info),
    /// Print versions
    Version {
        /// One line, by a template
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Print shell completions
    #[command(after_help = "Example:\n  kernctl completions bash > /etc/bash_completion.d/kernctl")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Send an image to the hub
    Push(Hub),
    /// Fetch an image from the hub
    Pull(Hub),
    /// Search the hub
    Search(Hub),
    /// Log in to the hub
    Login(Hub),
    /// Log out of the hub
    Logout(Hub),
    /// Remove an image from the hub
    RemoteDelete(Hub),
}

/// The commands in the order of the help.
const GROUPS: &[(&str, &[&str])] = &[
    ("Images", &["build", "images", "import", "tag", "rmi"]),
    (
        "Instances",
        &[
            "run", "create", "ps", "inspect", "logs", "attach", "stop", "start", "restart", "kill",
            "pause", "unpause", "rm", "rename", "port", "wait", "stats", "snapshot",
        ],
    ),
    ("Volumes", &["volume", "cp"]),
    (
        "Daemon",
        &[
            "providers",
            "compilers",
            "events",
            "info",
            "target",
            "daemon",
            "configure",
            "version",
            "completions",
        ],
    ),
    (
        "Hub (comes with a later version)",
        &["push", "pull", "search", "login", "logout", "remote-delete"],
    ),
];

/// The description of the command line, with its commands in groups.
pub(crate) fn description() -> Description {
    let description = Kernctl::command();
    let mut groups = String::new();
    for (title, names) in GROUPS {
        groups.push_str(&format!("{title}:\n"));
        for name in *names {
            let about = description.find_subcommand(name).and_then(Description::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            groups.push_str(&format!("  {name:<14} {about}\n"));
        }
        groups.push('\n');
    }
    description.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_consistent() {
        description().debug_assert();
    }

    #[test]
    fn every_command_stands_in_a_group() {
        let description = Kernctl::command();
        let mut listed: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut visible: Vec<&str> = description
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(Description::get_name)
            .collect();
        listed.sort_unstable();
        visible.sort_unstable();
        assert_eq!(listed, visible);
    }

    #[test]
    fn everything_visible_is_explained() {
        fn check(command: &Description) {
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                assert!(inner.get_about().is_some(), "{}", inner.get_name());
                check(inner);
            }
        }
        check(&description());
    }
}
