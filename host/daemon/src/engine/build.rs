// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds: from an uploaded context to an image, without trusting the context.
//!
//! The tools of a language run with an environment of ours, in a sandbox that has directories of
//! ours and what the system installed, and in a process group that ends when nobody waits any more
//! or when it takes too long. Files that get
//! into the image come from the context or are what every image has; the loader and libraries of a
//! program, the one that is run or one that is included, have to be libraries of this machine, or a
//! context could ask for any file.

mod flags;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bhojpur_abi::config::Port;
use bhojpur_build::assemble::{self, Assembly};
use bhojpur_build::language::{self, Source};
use bhojpur_build::sandbox::Sandbox;
use bhojpur_build::shared::Trust;
use bhojpur_build::tools::{Stop, Tools};
use bhojpur_kernel_embedded::KERNEL;
use bhojpur_provider::Progress;
use tokio::sync::mpsc;

use super::images::NewImage;
use super::{Engine, Upload, archive, blocking};
use crate::home::{self, Scratch};
use crate::model::{Exposed, Image};
use crate::{Error, Result};

/// Of our own environment, what tools get: where to find them and how to reach the network.
const PASSED_ON: &[&str] = &[
    "PATH",
    "LANG",
    "GOPROXY",
    "GOPRIVATE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOSUMDB",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) language: String,
    pub(crate) provider: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) include: Vec<String>,
    pub(crate) mounts: Vec<String>,
    pub(crate) ports: Vec<Exposed>,
    pub(crate) memory_mib: Option<u64>,
    pub(crate) cpus: Option<u32>,
    pub(crate) flags: Vec<String>,
    pub(crate) force: bool,
}

/// What a build says while it goes on.
#[derive(Debug)]
pub(crate) enum Told {
    Step(String),
    Output(String),
    Progress { what: String, done: u64, total: u64 },
    Done(Box<Image>),
    Failed(Error),
}

/// A build that goes on. When it is dropped the build ends.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    stop: Stop,
}

impl Drop for Build {
    fn drop(&mut self) {
        self.stop.now();
    }
}

impl Engine {
    /// Checks the order, and begins.
    pub(crate) fn build(self: &Arc<Self>, order: Order, upload: Upload) -> Result<Build> {
        self.check_order(&order)?;
        let (tell, told) = mpsc::unbounded_channel();
        let stop = Stop::at(Instant::now() + self.config.builds.time);
        let (engine, own) = (self.clone(), stop.clone());
        self.tasks.spawn(async move {
            let built = engine.build_in_turn(order, upload, &tell, &own).await;
            engine.metrics.built(built.is_ok());
            let last = match built {
                Ok(image) => Told::Done(Box::new(image)),
                Err(error) => Told::Failed(error),
            };
            // Whoever asked may have left.
            let _ = tell.send(last);
        });
        Ok(Build { told, stop })
    }

    /// What can be known to be wrong before an upload.
    pub(crate) fn check_order(&self, order: &Order) -> Result<()> {
        if !order.name.is_empty() {
            super::names::tagged(&order.name)?;
        }
        self.providers.named(&order.provider)?;
        if !order.language.is_empty() {
            language::by_name(&order.language).map_err(|error| refused(&error))?;
        }
        flags::check(&order.flags)?;
        for variable in &order.env {
            if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                return Err(Error::invalid("an environment has NAME=VALUE"));
            }
        }
        order.mounts.iter().try_for_each(|pair| mount(pair).map(|_| ()))?;
        super::create::check_memory(order.memory_mib)?;
        super::create::check_cpus(order.cpus)?;
        Ok(())
    }

    async fn build_in_turn(
        self: &Arc<Self>,
        order: Order,
        upload: Upload,
        tell: &mpsc::UnboundedSender<Told>,
        stop: &Stop,
    ) -> Result<Image> {
        let _turn = {
            if self.builds.available_permits() == 0 {
                let _ = tell.send(Told::Step("waiting for other builds".to_owned()));
            }
            tokio::select! {
                turn = self.builds.acquire() => turn.map_err(|_| given_up())?,
                () = tell.closed() => return Err(given_up()),
            }
        };
        let (engine, teller, stop) = (self.clone(), tell.clone(), stop.clone());
        let kind = self.providers.named(&order.provider)?.kind();
        let (name, force) = (order.name.clone(), order.force);
        let (scratch, path, language) =
            blocking(move || engine.compile(&order, upload, &teller, &stop)).await?;
        let new =
            NewImage { scratch, path, language, name, force, provider: kind, action: "build" };
        let _ = tell.send(Told::Step("keeping the image".to_owned()));
        self.adopt_image(new, &Teller(tell.clone())).await
    }

    /// Everything that blocks: unpacks, compiles, assembles.
    fn compile(
        &self,
        order: &Order,
        upload: Upload,
        tell: &mpsc::UnboundedSender<Told>,
        stop: &Stop,
    ) -> Result<(Scratch, PathBuf, String)> {
        let step = |title: &str| {
            let _ = tell.send(Told::Step(title.to_owned()));
        };
        let Upload { scratch, path: uploaded, .. } = upload;
        let limits = &self.config.limits;
        let room = archive::Room { bytes: limits.upload_bytes, entries: limits.upload_entries };
        step("unpacking");
        // The last part of a directory's name is the program's, when nothing else names it.
        let context = scratch.path().join("context").join(program_name(&order.name));
        home::make(&context)?;
        archive::unpack(archive::open(&uploaded)?, &context, room)?;
        home::remove(&uploaded)?;
        let source = inside(&context, &order.path)?;
        let language = match order.language.as_str() {
            "" => language::detect(&source),
            name => language::by_name(name),
        }
        .map_err(|error| hide(&refused(&error), &context))?;
        step(&format!("compiling ({})", language.name()));
        let output = scratch.path().join("program");
        home::make(&output)?;
        let tools = self.tools(&scratch, stop)?;
        let flags: Vec<OsString> = order.flags.iter().map(OsString::from).collect();
        let source =
            Source { path: &source, flags: &flags, scratch: &output, debug: false, tools: &tools };
        let program = language.build(&source).map_err(|error| hide(&refused(&error), &context))?;
        let _ = tell.send(Told::Output(format!("{} with {}", program.name, program.toolchain)));
        step("assembling");
        let (name, needs) = (&program.name, program.needs);
        let mut assembly = Assembly::new(&program.executable, name, needs, Trust::Stranger)
            .map_err(|error| hide(&hide(&assembled(&error), &context), &output))?;
        for pair in &order.include {
            include(&mut assembly, &context, pair)?;
        }
        for pair in &order.mounts {
            let (from, to) = mount(pair)?;
            assembly.mount(from, to).map_err(|error| assembled(&error))?;
        }
        for missing in &assembly.missing {
            let _ = tell.send(Told::Output(format!("warning: {missing}")));
        }
        assembly.config.args.extend(order.args.iter().map(|word| word.as_bytes().to_vec()));
        for variable in &order.env {
            if let Some((name, value)) = variable.split_once('=') {
                assembly.config.set_env(name, value);
            }
        }
        let port = |port: &Exposed| Port { number: port.guest, udp: port.udp };
        assembly.config.ports = order.ports.iter().map(port).collect();
        assembly.config.memory_usual = order.memory_mib.map(|mib| mib.saturating_mul(1 << 20));
        assembly.config.cpus_usual = order.cpus.map(u64::from);
        if let Some(reason) = stop.reason() {
            return Err(Error::conflict(format!("the build was ended: {reason}")));
        }
        self.check_room(0)?;
        let path = scratch.path().join("kernel.elf");
        assembly.write(KERNEL, &path).map_err(|error| assembled(&error))?;
        home::remove(&scratch.path().join("context"))?;
        Ok((scratch, path, language.name().to_owned()))
    }

    fn tools(&self, scratch: &Scratch, stop: &Stop) -> Result<Tools> {
        let mut environment: Vec<(OsString, OsString)> = PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
            .collect();
        let temporary = scratch.path().join("tmp");
        home::make(&temporary)?;
        let cache = self.home.cache();
        for (name, directory) in [
            ("HOME", cache.join("home")),
            ("GOPATH", cache.join("go")),
            ("GOCACHE", cache.join("go-build")),
            ("TMPDIR", temporary.clone()),
            ("GOTMPDIR", temporary),
        ] {
            home::make(&directory)?;
            environment.push((name.into(), directory.into()));
        }
        // What go.mod says does not make Go fetch and run another Go, or look into version control.
        for (name, value) in
            [("GOTOOLCHAIN", "local"), ("GOENV", "off"), ("GOFLAGS", "-modcacherw")]
        {
            environment.push((name.into(), value.into()));
        }
        if !self.config.builds.cgo {
            environment.push(("CGO_ENABLED".into(), "0".into()));
        }
        let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
        let mut read: Vec<PathBuf> =
            certificates.iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
        read.extend_from_slice(&self.config.builds.read);
        let sandbox = Sandbox { read, write: vec![scratch.path().to_owned(), cache] };
        Ok(Tools {
            environment: Some(environment),
            stop: Some(stop.clone()),
            sandbox: Some(sandbox),
        })
    }
}

/// `web` of `team/web:1.0`.
fn program_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = last.split(':').next().unwrap_or_default();
    if plain.is_empty() { "program".to_owned() } else { plain.to_owned() }
}

/// A path of the context, which stays in it, links and all.
fn inside(context: &Path, path: &str) -> Result<PathBuf> {
    let outside = || Error::invalid(format!("{path:?} leads out of what was uploaded"));
    let relative = Path::new(path);
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(outside());
    }
    let missing = |_| {
        Error::invalid(format!("{path:?} is not in what was uploaded"))
            .advise("name a directory of the context")
    };
    let root = context.canonicalize().map_err(missing)?;
    let found = context.join(relative).canonicalize().map_err(missing)?;
    if found.starts_with(&root) { Ok(found) } else { Err(outside()) }
}

fn include(assembly: &mut Assembly, context: &Path, pair: &str) -> Result<()> {
    let (from, to) = pair
        .split_once(':')
        .filter(|(from, to)| !from.is_empty() && to.starts_with('/'))
        .ok_or_else(|| {
            Error::invalid(format!("{pair:?} does not say what to include"))
                .advise("include takes CONTEXT:GUEST, and GUEST begins with /")
        })?;
    let from = inside(context, from)?;
    assembly.include(&from, to).map_err(|error| hide(&assembled(&error), context))
}

/// What the guest mounts when it starts. Files of this machine get into an image by `include`,
/// from the context alone.
fn mount(pair: &str) -> Result<(&str, &str)> {
    let named = pair.split_once(':');
    named.filter(|(from, to)| assemble::is_volume(from) && to.starts_with('/')).ok_or_else(|| {
        Error::invalid(format!("{pair:?} does not say what to mount")).advise(
            "a mount is SOURCE:GUEST; SOURCE is tmpfs, /dev/NAME, LABEL=x or UUID=x, and GUEST begins with /",
        )
    })
}

fn refused(error: &language::Error) -> Error {
    use bhojpur_api::Code;
    let code = match error {
        language::Error::NoToolchain { .. }
        | language::Error::WrongToolchain { .. }
        | language::Error::OldToolchain { .. } => Code::NotReady,
        language::Error::NotSupported { .. } => Code::Unsupported,
        language::Error::Stopped { .. } => Code::Conflict,
        language::Error::Start { .. } => Code::Internal,
        language::Error::Compile { .. } => Code::BuildFailed,
        _ => Code::Invalid,
    };
    error.advice().into_iter().fold(Error::new(code, error), Error::advise)
}

fn assembled(error: &assemble::Error) -> Error {
    let failed = match error {
        assemble::Error::Write { path, source } => {
            Error::io(format!("cannot write {}", path.display()), source)
        }
        _ => Error::invalid(error),
    };
    match error.advice() {
        Some(advice) if failed.advice().is_none() => failed.advise(advice),
        _ => failed,
    }
}

/// Messages name files as the user knows them, not where they were unpacked.
fn hide(error: &Error, context: &Path) -> Error {
    let real = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    let mut text = error.to_string();
    for prefix in [real.as_path(), context] {
        let prefix = String::from_utf8_lossy(prefix.as_os_str().as_bytes()).into_owned();
        text = text.replace(&format!("{prefix}/"), "").replace(&prefix, ".");
    }
    let hidden = Error::new(error.code(), text);
    error.advice().map(str::to_owned).into_iter().fold(hidden, Error::advise)
}

fn given_up() -> Error {
    Error::conflict("the build was given up")
}

/// Tells of transfers.
struct Teller(mpsc::UnboundedSender<Told>);

impl Progress for Teller {
    fn advance(&self, what: &str, done: u64, total: u64) {
        let _ = self.0.send(Told::Progress { what: what.to_owned(), done, total });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn paths_stay_in_the_context() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("context");
        fs::create_dir_all(context.join("cmd")).unwrap();
        std::os::unix::fs::symlink("/etc", context.join("etc")).unwrap();
        inside(&context, "").unwrap();
        inside(&context, "./cmd").unwrap();
        for bad in ["..", "/etc", "cmd/../..", "etc", "none"] {
            assert!(inside(&context, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_devices_are_mounted() {
        assert_eq!(mount("tmpfs:/var/cache").unwrap(), ("tmpfs", "/var/cache"));
        assert_eq!(mount("LABEL=data:/data").unwrap(), ("LABEL=data", "/data"));
        for bad in ["/etc:/data", "tmpfs", "tmpfs:data", ".:/srv", ":/x"] {
            assert!(mount(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn programs_are_named_by_their_images() {
        assert_eq!(program_name("team/web:1.0"), "web");
        assert_eq!(program_name(""), "program");
    }
}
