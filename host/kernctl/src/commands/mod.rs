// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the commands do. Each gives the exit status.

mod build;
mod configure;
mod console;
mod copy;
pub(crate) mod daemon;
mod filters;
mod images;
mod inspect;
mod instances;
mod run;
mod stats;
mod system;
mod target;
mod volumes;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::Failure;
use crate::arguments::{self, Attach, Command};
use crate::session::Session;

/// Carries out a command.
pub(crate) async fn execute(session: &Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Build(build) => build::execute(session, &build).await,
        Command::Images(images) => images::list(session, &images).await,
        Command::Import(import) => images::import(session, &import).await,
        Command::Tag(tag) => images::tag(session, &tag).await,
        Command::Rmi(rmi) => images::remove(session, &rmi).await,
        Command::Run(run) => run::run(session, &run).await,
        Command::Create(create) => run::create(session, &create).await,
        Command::Ps(ps) => instances::list(session, &ps).await,
        // The ancestor's list has all of them.
        Command::Instances(mut ps) => {
            ps.all = true;
            instances::list(session, &ps).await
        }
        Command::Inspect(inspect) => inspect::execute(session, &inspect).await,
        Command::Logs(logs) => instances::logs(session, &logs).await,
        Command::Attach(attach) => self::attach(session, attach).await,
        Command::Stop(stop) => instances::stop(session, &stop).await,
        Command::Start(start) => instances::start(session, &start).await,
        Command::Restart(restart) => instances::restart(session, &restart).await,
        Command::Kill(kill) => instances::kill(session, &kill).await,
        Command::Pause(names) => instances::pause(session, &names).await,
        Command::Unpause(names) => instances::unpause(session, &names).await,
        Command::Rm(rm) => instances::remove(session, &rm).await,
        Command::Port(published) => instances::port(session, &published).await,
        Command::Rename(rename) => instances::rename(session, &rename).await,
        Command::Wait(names) => instances::wait(session, &names).await,
        Command::Stats(stats) => stats::execute(session, &stats).await,
        Command::Events(events) => system::events(session, &events).await,
        Command::Snapshot(command) => instances::snapshot(session, command).await,
        Command::Volume(command) => volumes::execute(session, command).await,
        Command::Volumes(listing) => volumes::list(session, &listing, &[]).await,
        Command::CreateVolume(create) => volumes::create_as_ancestor(session, create).await,
        Command::AttachVolume(attach) => volumes::attach(session, &attach.into()).await,
        Command::DetachVolume(detach) => volumes::detach(session, &detach.volume, None).await,
        Command::DeleteVolume(delete) => {
            volumes::remove(session, std::slice::from_ref(&delete.volume), delete.force).await
        }
        Command::Cp(cp) => copy::execute(session, &cp).await,
        Command::Providers(listing) => system::providers(session, &listing).await,
        Command::Compilers(compilers) => system::compilers(session, &compilers).await,
        Command::DescribeCompiler(describe) => system::describe_compiler(session, &describe).await,
        Command::Target(target) => target::execute(session, &target).await,
        Command::Daemon(daemon) => daemon::manage(session, *daemon).await,
        Command::Configure(configure) => configure::execute(&configure),
        Command::Info(info) => system::info(session, &info).await,
        Command::Version { format } => system::version(session, format.as_deref()).await,
        Command::Completions { shell } => completions(session, shell),
        Command::Push(_)
        | Command::Pull(_)
        | Command::Search(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::RemoteDelete(_) => Err(Failure::unsupported("there is no hub yet; it comes with a later version")
            .advise("until then, move images as files: `kernel build` makes kernel.elf, `kernctl import` takes it")),
    }
}

/// What is started by our own programs and not by people.
pub(crate) fn hidden(words: &[OsString]) -> Option<ExitCode> {
    let proxy = words.get(1)? == bhojpur_daemon::PORT_PROXY;
    proxy.then(|| daemon::port_proxy(&words[2..]))
}

/// docker's `attach`, or the ancestor's when it names a volume.
async fn attach(session: &Session, attach: Attach) -> Result<u8, Failure> {
    match (attach.volume, attach.instance, attach.mount_point, attach.name) {
        (Some(volume), Some(instance), Some(place), _) => {
            let attach = arguments::AttachVolume { volume, instance, place, force: attach.force };
            volumes::attach(session, &attach.into()).await
        }
        (_, _, _, Some(name)) => {
            instances::attach(session, &name, !attach.no_stdin, attach.sig_proxy).await
        }
        _ => Err(Failure::usage("an instance is wanted")),
    }
}

fn completions(session: &Session, shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::description(), "kernctl", &mut script);
    session.printer.raw(&script)?;
    Ok(0)
}

/// Does something to each of several, and goes on when one fails. The first failure decides the
/// status.
pub(crate) async fn each<F>(
    session: &Session,
    names: &[String],
    mut work: impl FnMut(String) -> F,
) -> Result<u8, Failure>
where
    F: Future<Output = Result<String, Failure>>,
{
    let mut first = None;
    for name in names {
        match work(name.clone()).await {
            Ok(line) => session.printer.line(&line)?,
            Err(failure) if failure.is_silent() => return Err(failure),
            Err(failure) => {
                if let Some(earlier) = first.replace(failure) {
                    let earlier: Failure = earlier;
                    earlier.report(session.printer.is_json());
                    // The status of the first one stays.
                    first = first.map(|later: Failure| later.with_status(earlier.status()));
                }
            }
        }
    }
    first.map_or(Ok(0), Err)
}

/// Says something that is no result.
pub(crate) fn note(text: &str) {
    use std::io::Write as _;
    // Nobody reads when this fails.
    let _ = std::io::stderr().write_all(format!("kernctl: {text}\n").as_bytes());
}
