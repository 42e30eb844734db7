// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `kernel`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bhojpur_build::assemble::check_mount;
use bhojpur_formats::pack::Format;
use bhojpur_monitor::{AcceleratorChoice, Forward, Size, Volume};
use clap::{Args, Parser, Subcommand};

/// Turns programs into unikernels and runs them.
#[derive(Debug, Parser)]
#[command(
    name = "kernel",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kernel build                       make kernel.elf from the Go program in this directory
  kernel run -p 8080:8080 kernel.elf boot it; http://localhost:8080 leads into it
  kernel pack -o app.iso -k kernel.elf
  kernel test ./... -- -run TestFoo  run Go tests inside the unikernel

Exit status: 0 success, 1 failure, 2 wrong usage. `kernel run` gives the status of the program
(128+n when signal n killed it); 124 when the time was up, 125 when the guest could not be started,
126 when it ended without a word, 127 when the kernel itself failed."
)]
pub struct Kernel {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a program into one bootable ELF
    Build(Build),
    /// Boot an image in QEMU and give back its program's exit status
    Run(Run),
    /// Make a disk or CD image that boots on BIOS and UEFI machines
    Pack(Pack),
    /// Run Go tests inside the unikernel
    Test(Test),
    /// Print versions
    Version,
    /// Print shell completions
    #[command(after_help = "Example:\n  kernel completions bash > /etc/bash_completion.d/kernel")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `kernel build`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  kernel build
  kernel build -o server.elf ./cmd/server
  kernel build --env MODE=production --arg --verbose --include ./static:/srv/static
  kernel build -- -tags netgo -ldflags '-X main.version=1.2'")]
pub struct Build {
    /// Where to write the image
    #[arg(short, long, value_name = "FILE", default_value = "kernel.elf")]
    pub output: PathBuf,
    /// The language of the program, when it cannot be told from the files
    #[arg(short, long)]
    pub language: Option<String>,
    /// Set an environment variable of the program
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<String>,
    /// Give the program an argument
    #[arg(short, long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub args: Vec<OsString>,
    /// Mount a volume when the guest starts: a device (/dev/vdb), LABEL=x, UUID=x or tmpfs. A directory of this
    /// machine is copied into the image; what the program writes there stays in memory
    #[arg(long = "mount", value_name = "HOST:GUEST", value_parser = mount)]
    pub mounts: Vec<Pair>,
    /// Put a file or directory of this machine into the image
    #[arg(long = "include", value_name = "HOST:GUEST", value_parser = pair)]
    pub includes: Vec<Pair>,
    /// Keep the debugging information of the program
    #[arg(long)]
    pub debug: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// The directory of the program, or one source file
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Arguments for `go build`
    #[arg(last = true, value_name = "GO BUILD FLAGS")]
    pub flags: Vec<OsString>,
}

/// `kernel run`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  kernel run kernel.elf
  kernel run -p 8080:80 -p 5353:53/udp -m 256M -c 4 kernel.elf -- --config /etc/app.toml
  kernel run -v data.img:/data -v assets.img:/srv:ro kernel.elf
  kernel run --gdb kernel.elf
  kernel run app.iso

The program's output is on standard output, and nothing else is. Ctrl-C stops the guest.
Exit status: the program's (128+n when signal n killed it); 124 when the time was up, 125 when the
guest could not be started, 126 when it ended without a word, 127 when the kernel itself failed.")]
pub struct Run {
    /// Lead a port of this machine into the guest
    #[arg(short, long = "port", value_name = "[ADDRESS:]HOST:GUEST[/udp]")]
    pub ports: Vec<Forward>,
    /// Mount a disk image with an ext4 file system in the guest
    #[arg(short, long = "volume", value_name = "FILE:/GUEST[:ro]")]
    pub volumes: Vec<Volume>,
    /// Memory of the guest, for example 256M [default: what the image needs]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Processors of the guest
    #[arg(short, long, value_name = "CPUS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// Set an environment variable of the program
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<String>,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, value_name = "ACCELERATOR", default_value = "auto")]
    pub accel: AcceleratorChoice,
    /// The virtual machine monitor
    #[arg(long, value_name = "MONITOR", default_value = "qemu", value_parser = ["qemu"])]
    pub monitor: String,
    /// Show QEMU's command line and the kernel's log on standard error
    #[arg(long)]
    pub verbose: bool,
    /// Wait for gdb before the first instruction
    #[arg(long)]
    pub gdb: bool,
    /// The TCP port on which gdb is served
    #[arg(long, value_name = "PORT", default_value_t = 1234)]
    pub gdb_port: u16,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// One more argument for QEMU
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_args: Vec<OsString>,
    /// The image: an ELF, an ISO or a disk image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// Arguments of the program, in place of those in the image
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// `kernel pack`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  kernel pack -o app.iso -k kernel.elf
  kernel pack -o app.ova -k kernel.elf
  kernel pack -o disk.img --format qcow2 -k kernel.elf")]
pub struct Pack {
    /// Where to write the image
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The ELF that `kernel build` made
    #[arg(short, long, value_name = "FILE", default_value = "kernel.elf")]
    pub kernel: PathBuf,
    /// iso, raw, qcow2, vmdk, vhd, vdi or ova [default: what the name says]
    #[arg(short, long)]
    pub format: Option<Format>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// `kernel test`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  kernel test
  kernel test ./... -- -v -run 'TestServer|TestClient'
  kernel test strconv sort -- -short -count 1")]
pub struct Test {
    /// Memory of the guest [default: what the image needs and 1G]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Processors of the guest
    #[arg(short, long, value_name = "CPUS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// Set an environment variable of the tests
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<String>,
    /// Put a file or directory of this machine into the image
    #[arg(long = "include", value_name = "HOST:GUEST", value_parser = pair)]
    pub includes: Vec<Pair>,
    /// Put the Go toolchain into the image, for tests that run `go`
    #[arg(long)]
    pub toolchain: bool,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, value_name = "ACCELERATOR", default_value = "auto")]
    pub accel: AcceleratorChoice,
    /// Show the kernel's log on standard error
    #[arg(long)]
    pub verbose: bool,
    /// The packages, as for `go test` [default: the one in this directory]
    #[arg(value_name = "PACKAGES")]
    pub packages: Vec<String>,
    /// Flags of `go test`
    #[arg(last = true, value_name = "GO TEST FLAGS")]
    pub flags: Vec<OsString>,
}

/// `HOST:GUEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What stands before the colon.
    pub host: String,
    /// An absolute path of the guest.
    pub guest: String,
}

/// Parses `HOST:GUEST`; the last colon divides, so that host paths may have some.
pub fn pair(text: &str) -> Result<Pair, String> {
    let (host, guest) =
        text.rsplit_once(':').ok_or("write HOST:GUEST, for example ./static:/srv/static")?;
    if host.is_empty() {
        return Err("nothing stands before the colon".to_owned());
    }
    if !guest.starts_with('/') {
        return Err(format!(
            "{guest:?} is not an absolute path of the guest; it has to begin with /"
        ));
    }
    Ok(Pair { host: host.to_owned(), guest: guest.to_owned() })
}

/// Parses `HOST:GUEST` of what is mounted.
pub fn mount(text: &str) -> Result<Pair, String> {
    let pair = pair(text)?;
    check_mount(&pair.host, &pair.guest).map_err(|error| match error.advice() {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    })?;
    Ok(pair)
}

/// Parses `NAME=VALUE`.
pub fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        None => Err("write NAME=VALUE".to_owned()),
        Some(("", _)) => Err("the name is empty".to_owned()),
        Some(_) if text.contains('\0') => Err("a variable cannot contain NUL".to_owned()),
        Some(_) => Ok(text.to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "write a number of seconds, for example 30".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_description_is_consistent() {
        Kernel::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_not_ours() {
        let kernel =
            Kernel::parse_from(["kernel", "run", "-p", "8080:80", "k.elf", "--", "-v", "--help"]);
        let Command::Run(run) = kernel.command else { panic!("{kernel:?}") };
        assert_eq!(run.args, ["-v", "--help"]);
        let kernel = Kernel::parse_from(["kernel", "test", "a", "./b", "--", "-run", "X"]);
        let Command::Test(test) = kernel.command else { panic!("{kernel:?}") };
        assert_eq!(
            (test.packages, test.flags),
            (vec!["a".into(), "./b".into()], vec!["-run".into(), "X".into()])
        );
    }

    #[test]
    fn pairs_have_absolute_guests() {
        assert_eq!(pair("a:b:/c").unwrap().host, "a:b");
        for text in ["a", "a:b", ":/b", "a:"] {
            assert!(pair(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_have_names() {
        assert!(variable("A=").is_ok() && variable("A=b=c").is_ok());
        assert!(variable("A").is_err() && variable("=b").is_err());
    }
}
