// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl run` and `kernctl create`.

use bhojpur_api::{HealthCheck, RunRequest};
use bhojpur_client::{Client, LogOptions};

use super::console::{self, Signals, Watch};
use super::note;
use crate::arguments::{Create, Run, docker};
use crate::failure::status;
use crate::session::Session;
use crate::{Failure, env_file};

pub(crate) async fn create(session: &Session, create: &Create) -> Result<u8, Failure> {
    let mut request = request(&create.options)?;
    request.create_only = true;
    let instance = session.connect().await?.run(&request).await?;
    session.printer.one(&instance, || instance.id.clone())?;
    Ok(0)
}

pub(crate) async fn run(session: &Session, run: &Run) -> Result<u8, Failure> {
    let mut request = request(&run.options)?;
    if run.detach {
        // -i is taken for the habit of -itd: its console is there for who attaches later.
        request.remove = run.rm;
        let instance = session.connect().await?.run(&request).await?;
        session.printer.one(&instance, || instance.id.clone())?;
        return Ok(0);
    }
    // From here on nobody is left running by a Ctrl-C that comes too early.
    let mut signals = Signals::new()?;
    let client = session.connect().await.map_err(not_started)?;
    // A program that ends at once is removed by us, when its output and status are known.
    let instance = client.run(&request).await.map_err(|error| not_started(error.into()))?;
    let how =
        Watch { options: LogOptions::default(), input: run.interactive, ends: true, proxy: true };
    let result = follow(session, &client, &instance.id, how, &mut signals).await;
    // Without its daemon nobody knows that it has ended: what may run is not removed.
    if run.rm && result.as_ref().err().is_some_and(Failure::is_unreachable) {
        note(&format!("{} was not removed; later: kernctl rm -f {0}", instance.name));
    } else if run.rm
        && let Err(error) = client.delete_instance(&instance.id, true, false).await
    {
        note(&format!("{} could not be removed: {error}", instance.name));
    }
    result
}

async fn follow(
    session: &Session,
    client: &Client,
    id: &str,
    how: Watch,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let ended = console::watch(session, client, id, how, signals).await;
    match ended.map_err(|failure| failure.with_status(status::LOST))? {
        Some(instance) => Ok(console::exit_status(&instance)),
        None => Ok(0),
    }
}

fn not_started(failure: Failure) -> Failure {
    failure.with_status(status::NOT_STARTED)
}

/// What the options ask for.
fn request(options: &crate::arguments::Options) -> Result<RunRequest, Failure> {
    let mut words = options.words.iter().cloned();
    let image = match &options.image_name {
        Some(name) => name.clone(),
        None => words.next().ok_or_else(|| Failure::usage("an image is wanted"))?,
    };
    // What the command line does not know stands where the image should.
    if image.starts_with('-') {
        let advice = match docker::instead(&image) {
            Some(instead) => format!("{instead}; see `kernctl run --help`"),
            None => {
                "see `kernctl run --help`; what is for the program stands behind the image".into()
            }
        };
        return Err(Failure::usage(format!("unexpected argument '{image}' found")).advise(advice));
    }
    let mut args: Vec<String> = words.collect();
    // `IMAGE -- ARGS` is what `kernel run` takes.
    if args.first().is_some_and(|word| word == "--") {
        args.remove(0);
    }
    let probe = options.health_http.clone().or_else(|| options.health_tcp.clone());
    let milliseconds =
        |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let health = probe.map(|probe| HealthCheck {
        probe,
        interval_ms: milliseconds(options.health_interval),
        timeout_ms: milliseconds(options.health_timeout),
        retries: options.health_retries,
        start_period_ms: milliseconds(options.health_start_period),
        restart: options.health_restart,
    });
    Ok(RunRequest {
        image,
        name: options.name.clone().unwrap_or_default(),
        provider: options.provider.clone().unwrap_or_default(),
        args: (!args.is_empty()).then_some(args),
        env: env_file::environment(&options.env_file, &options.env)?,
        labels: options.label.iter().cloned().collect(),
        memory_mib: options.memory,
        cpus: options.cpus,
        ports: options.publish.concat(),
        publish_all: options.publish_all,
        volumes: options.volume.clone(),
        network: options.network.clone().unwrap_or_default(),
        restart: options.restart.clone().unwrap_or_default(),
        health,
        remove: false,
        create_only: false,
        debug_port: options.debug.then_some(options.debug_port),
        stop_grace_s: options.stop_timeout,
    })
}
