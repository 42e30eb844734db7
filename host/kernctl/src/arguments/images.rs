// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands about images.

use std::path::PathBuf;

use clap::Args;

use super::words::variable;

/// `kernctl build`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "\
Examples:
  kernctl build -t web .
  kernctl build -t web:1.2 --env MODE=production --arg=-v ./cmd/server
  kernctl build -t tool ./a-finished-linux-program
  kernctl build -t web . -- -tags netgo

The directory goes to the daemon, without .git and what .kernelignore names (patterns as in
.dockerignore). builderfile.toml in it is honoured: language, path, arguments, environment, includes,
flags. A name that another image has goes over to the new one.")]
pub(crate) struct Build {
    /// NAME[:TAG] of the image [default: the directory's name]
    #[arg(short, long, visible_alias = "name", value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// The language of the program, when it cannot be told from the files
    #[arg(short, long)]
    pub(crate) language: Option<String>,
    /// The provider for which it is staged [default: the daemon's]
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Give the program an argument
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
    /// Give the program all of its arguments, divided at blanks
    #[arg(long = "args", value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) arguments: Option<String>,
    /// Set an environment variable of the program
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<String>,
    /// Put a file or directory of the context into the image
    #[arg(long, value_name = "CONTEXT:GUEST")]
    pub(crate) include: Vec<String>,
    /// Say nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The directory of the program, one source file, or a finished Linux program [default: .]
    #[arg(value_name = "PATH")]
    pub(crate) context: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "PATH", conflicts_with = "context")]
    pub(crate) path: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "BASE")]
    pub(crate) base: Option<String>,
    #[arg(long, hide = true, value_name = "PATH")]
    pub(crate) mountpoint: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) force: bool,
    #[arg(long, hide = true)]
    pub(crate) no_cleanup: bool,
    /// Flags for the language's build command
    #[arg(last = true, value_name = "FLAGS")]
    pub(crate) flags: Vec<String>,
}

/// `kernctl images`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Images {
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// A line for each, by a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Only those without a name, or with one: dangling=true, dangling=false
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = dangling)]
    pub(crate) filter: Option<bool>,
    #[arg(short, long, hide = true)]
    pub(crate) all: bool,
    /// Only this image
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Whether images without a name are wanted, or those with one.
fn dangling(text: &str) -> Result<bool, String> {
    match text {
        "dangling=true" | "dangling=1" => Ok(true),
        "dangling=false" | "dangling=0" => Ok(false),
        _ => Err("there is no such filter; there are dangling=true and dangling=false".to_owned()),
    }
}

/// `kernctl import`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  kernctl import kernel.elf web\n  kernctl import - web:2 < kernel.elf"
)]
pub(crate) struct Import {
    /// What `kernel build` made; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// NAME[:TAG] of the image [default: the file's name]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// NAME[:TAG] of the image
    #[arg(short, long, value_name = "NAME", conflicts_with = "name")]
    pub(crate) tag: Option<String>,
    /// The provider for which it is staged [default: the daemon's]
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Say nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `kernctl tag`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tag {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Its other name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
}

/// `kernctl rmi`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rmi {
    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "image")]
    pub(crate) images: Vec<String>,
    /// When an image itself goes, with its last name or by its id, end and remove its instances
    #[arg(short, long)]
    pub(crate) force: bool,
    #[arg(long, hide = true, value_name = "IMAGE")]
    pub(crate) image: Vec<String>,
}

/// `kernctl inspect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Inspect {
    /// Instances, images or volumes, by name, id or the beginning of an id
    #[arg(value_name = "NAME", required_unless_present_any = ["instance", "image", "volume"])]
    pub(crate) names: Vec<String>,
    /// Only look for these
    #[arg(long, value_name = "KIND", value_parser = ["instance", "image", "volume"])]
    pub(crate) r#type: Option<String>,
    /// A line for each, by a template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    #[arg(long, hide = true, value_name = "INSTANCE")]
    pub(crate) instance: Vec<String>,
    #[arg(long, hide = true, value_name = "IMAGE")]
    pub(crate) image: Vec<String>,
    #[arg(long, hide = true, value_name = "VOLUME")]
    pub(crate) volume: Vec<String>,
}
