// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Time in the guest, where KVM trusts the counters of this machine's CPUs and
//! where it does not: it looks at Linux's own clock source.

use anyhow::{Result, ensure};
use bhojpur_abi::control::Exit;

use super::checks::{date, number, run};
use super::guest::Guest;
use super::seen::Seen;
use crate::nested::{Job, Outcome};

pub(super) const BY_KVM_CLOCK: &str = "time is told by KVM's clock";
/// Seconds between the guest's date and a look at this machine's, which waits for
/// the guest to end.
const LATE: i64 = 20;

/// Makes this machine tell the time by `source`, if it can.
pub(super) fn choose(source: &str, name: &str) -> String {
    let place = "/sys/devices/system/clocksource/clocksource0";
    format!(
        "echo {source} >{place}/current_clocksource
cat {place}/current_clocksource >>out/{name}.sources
"
    )
}

fn guest(arguments: &'static str) -> Guest {
    Guest { cpus: 4, ..Guest::new("guest.elf", arguments) }
}

pub(super) fn watch(name: &str, job: &mut Job) -> String {
    choose("tsc", name) + &run(name, job, &guest("-- clock 2"))
}

pub(super) fn watch_unsteady(name: &str, job: &mut Job) -> String {
    choose("acpi_pm", name) + &run(name, job, &guest("-- clock 3")) + &choose("tsc", name)
}

/// The guest starts with counters and loses them. (Linux gives them back only to
/// machines that are made later.)
pub(super) fn change(name: &str, job: &mut Job) -> String {
    job.file(&format!("{name}.json"), guest("-- clock 6").configuration().as_bytes());
    let start = format!(
        "start {name} --no-api --config-file {name}.json
until_seen out/{name}.console watching 1
sleep 1
"
    );
    let finish = format!("finish {name}\ndate +%s >out/{name}.date\n");
    format!(
        "{}{start}{}{finish}{}",
        choose("tsc", name),
        choose("acpi_pm", name),
        choose("tsc", name)
    )
}

/// What all of them have in common; the number of looks at the clock.
fn went_on(name: &str, outcome: &Outcome) -> Result<(Seen, i64)> {
    let seen = Seen::of(name, outcome)?;
    seen.ended(Exit::Status(0))?;
    let of = |word: &str| number(&seen.console, word);
    ensure!(of("backwards")? == 0, "time ran backwards\n{seen}");
    let (inside, outside) = (of("date")?, date(name, outcome)?);
    ensure!((outside - LATE..=outside).contains(&inside), "inside {inside}, outside {outside}");
    let reads = of("reads")?;
    ensure!(reads > 100, "{reads} looks\n{seen}");
    Ok((seen, reads))
}

/// Which clock sources this machine had, one after the other.
pub(super) fn sources(name: &str, outcome: &Outcome) -> String {
    let said = outcome.files.get(&format!("{name}.sources"));
    said.map_or_else(String::new, |said| String::from_utf8_lossy(said).replace('\n', " "))
}

pub(super) fn steady(name: &str, outcome: &Outcome) -> Result<String> {
    let (seen, reads) = went_on(name, outcome)?;
    // A machine without trust in its counters has no other clock to choose.
    let trusted = sources(name, outcome).contains("tsc");
    let asking = seen.records.contains(BY_KVM_CLOCK);
    ensure!(trusted != asking, "the wrong clock\n{seen}");
    Ok(format!("{reads} looks by 4 CPUs at the counters, all in order"))
}

pub(super) fn unsteady(name: &str, outcome: &Outcome) -> Result<String> {
    let (seen, reads) = went_on(name, outcome)?;
    if !sources(name, outcome).contains("acpi_pm") {
        return Ok("this machine's clock cannot be changed".to_owned());
    }
    ensure!(seen.records.contains(BY_KVM_CLOCK), "the counters are still trusted\n{seen}");
    Ok(format!("{reads} looks by 4 CPUs at KVM's clock, all in order"))
}

pub(super) fn changed(name: &str, outcome: &Outcome) -> Result<String> {
    let (seen, reads) = went_on(name, outcome)?;
    if sources(name, outcome) != "tsc acpi_pm tsc " {
        return Ok("this machine's clock cannot be changed".to_owned());
    }
    let line = seen.records.lines().find(|line| line.contains(BY_KVM_CLOCK));
    ensure!(line.is_some_and(|line| line.starts_with("@log ")), "no change\n{seen}");
    Ok(format!("{reads} looks by 4 CPUs from counters to KVM's clock, all in order"))
}
