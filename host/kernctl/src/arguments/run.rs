// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl run` and `kernctl create`.

use std::path::PathBuf;
use std::time::Duration;

use bhojpur_api::{Mount, Network, Probe, RestartPolicy};
use clap::Args;

use super::words;

/// `kernctl run`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "kernctl run [OPTIONS] IMAGE [ARGS]...",
    after_help = "\
Examples:
  kernctl run web
  kernctl run -d --name web -p 8080:8080 -e MODE=debug web
  kernctl run -d -v data:/data -v assets:/srv:ro --restart on-failure:5 --health-http 8080/health web
  kernctl run --rm tool --verbose input.txt

In the foreground the program's output is on standard output; Ctrl-C asks the program to stop, a second
one ends it; the exit status is the program's. What follows the image is for the program."
)]
pub(crate) struct Run {
    /// Print the id and leave it to itself
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Remove it when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Type standard input on its console
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Accepted for the habit of -it: a guest has a console anyway
    #[arg(short, long, hide = true)]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// `kernctl create`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "kernctl create [OPTIONS] IMAGE [ARGS]...")]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What an instance shall be.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Its name [default: one is made up]
    #[arg(long, alias = "instanceName", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Lead a port of the daemon's machine into it, or as many as FIRST-LAST says on both sides
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]GUEST[/udp]", value_parser = words::ports)]
    pub(crate) publish: Vec<words::Ports>,
    /// Lead a free port of the daemon's machine into each port that the image names
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Mount a volume in it
    #[arg(short, long, alias = "vol", value_name = "VOLUME:/DIRECTORY[:ro]", value_parser = words::mount)]
    pub(crate) volume: Vec<Mount>,
    /// Set an environment variable; NAME alone takes the value from here
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = words::variable)]
    pub(crate) env: Vec<String>,
    /// Set the environment variables in a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Its memory, for example 256M [default: what the image says]
    #[arg(short, long, alias = "instanceMemory", value_name = "SIZE", value_parser = words::memory)]
    pub(crate) memory: Option<u64>,
    /// Its processors [default: what the image says, else 1]
    #[arg(long, value_name = "COUNT", value_parser = words::processors)]
    pub(crate) cpus: Option<u32>,
    /// When it is started again: no, on-failure[:N] or always
    #[arg(long, value_name = "POLICY", value_parser = words::restart)]
    pub(crate) restart: Option<RestartPolicy>,
    /// Words to find it by
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = words::label)]
    pub(crate) label: Vec<(String, String)>,
    /// The hypervisor or cloud [default: the one that has the image]
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// default, none, tap:DEVICE or bridge:BRIDGE
    #[arg(long, alias = "net", value_name = "NETWORK", value_parser = words::network)]
    pub(crate) network: Option<Network>,
    /// Seconds between asking it to stop and ending it
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Wait for gdb before the first instruction
    #[arg(long, visible_alias = "debug-mode")]
    pub(crate) debug: bool,
    /// The port of the daemon's machine on which gdb is served
    #[arg(long, value_name = "PORT", default_value_t = 3001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) debug_port: u16,
    /// It is well when a GET of this is answered with 200 to 399
    #[arg(long, value_name = "PORT[/PATH]", value_parser = words::http_probe, conflicts_with = "health_tcp", group = "check", help_heading = "Health")]
    pub(crate) health_http: Option<Probe>,
    /// It is well when it accepts connections there. Through QEMU's user network (the default)
    /// only a refusal is noticed, not that it hangs: --health-http asks the program itself
    #[arg(long, value_name = "PORT", value_parser = words::tcp_probe, group = "check", help_heading = "Health")]
    pub(crate) health_tcp: Option<Probe>,
    /// Time between two questions
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::time, requires = "check", help_heading = "Health")]
    pub(crate) health_interval: Duration,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = words::time, requires = "check", help_heading = "Health")]
    pub(crate) health_timeout: Duration,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), requires = "check", help_heading = "Health")]
    pub(crate) health_retries: u32,
    /// Failures in this time after the start do not count
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::time, requires = "check", help_heading = "Health")]
    pub(crate) health_start_period: Duration,
    /// Apply the restart policy to what is unhealthy
    #[arg(long, requires = "check", help_heading = "Health")]
    pub(crate) health_restart: bool,
    #[arg(long = "imageName", hide = true, value_name = "IMAGE")]
    pub(crate) image_name: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) no_cleanup: bool,
    /// The image, and after it the arguments of the program in place of the image's
    #[arg(
        value_name = "IMAGE [ARGS]",
        required_unless_present = "image_name",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) words: Vec<String>,
}
