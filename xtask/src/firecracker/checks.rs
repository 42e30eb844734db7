// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is tried, and what has to be seen.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bhojpur_abi::control::Exit;
use serde_json::json;

use super::clock;
use super::guest::{Disk, GUEST, Guest, TAP};
use super::seen::Seen;
use crate::nested::{Job, Outcome};

/// A check: its part of the script, and its judgement of what that left.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) prepare: fn(&str, &mut Job) -> String,
    pub(super) judge: fn(&str, &Outcome) -> Result<String>,
}

pub(super) const CHECKS: &[Check] = &[
    Check { name: "entry-pvh", prepare: enter_pvh, judge: entered },
    Check { name: "entry-linux", prepare: enter_linux, judge: entered },
    Check { name: "status-zero", prepare: end_well, judge: ended_well },
    Check { name: "status-signal", prepare: be_killed, judge: was_killed },
    Check { name: "cpus-4", prepare: use_cpus, judge: used_cpus },
    Check { name: "smallest", prepare: be_small, judge: was_small },
    Check { name: "largest", prepare: be_large, judge: was_large },
    Check { name: "largest-pci", prepare: be_large_on_pci, judge: was_large },
    Check { name: "date", prepare: tell_date, judge: told_date },
    Check { name: "clock", prepare: clock::watch, judge: clock::steady },
    Check { name: "clock-kvm", prepare: clock::watch_unsteady, judge: clock::unsteady },
    Check { name: "clock-changes", prepare: clock::change, judge: clock::changed },
    Check { name: "disk", prepare: read_disk, judge: read_from_disk },
    Check { name: "volume", prepare: keep_file, judge: kept_file },
    Check { name: "pci", prepare: use_pci, judge: used_pci },
    Check { name: "metadata", prepare: ask_metadata, judge: got_metadata },
    Check { name: "metadata-alone", prepare: ask_without_address, judge: got_metadata },
    Check { name: "metadata-large", prepare: ask_much, judge: got_much },
    Check { name: "metadata-missing", prepare: ask_nobody, judge: got_nothing },
    Check { name: "option-unknown", prepare: misspell, judge: was_told },
    Check { name: "web", prepare: serve, judge: served },
    Check { name: "stop", prepare: stop, judge: stopped },
    Check { name: "snapshot", prepare: snapshot, judge: restored },
];

/// What the script starts with.
pub(super) const PRELUDE: &str = r#"
tunctl -t tap1 >/dev/null && ifconfig tap1 172.16.1.1 netmask 255.255.255.0 up || exit 1
tunctl -t tap0 >/dev/null && ifconfig tap0 172.16.0.1 netmask 255.255.255.0 up || exit 1
# start NAME FLAGS..: starts the monitor, with its console and its log in files.
start() {
    name=$1
    shift
    : >"out/$name.log"
    # It is looked into before the monitor has opened it.
    : >"out/$name.console"
    ./firecracker --log-path "out/$name.log" --level Info "$@" \
        </dev/null >>"out/$name.console" 2>"out/$name.errors" &
    monitor=$!
}
# finish NAME: waits for it, a minute at most.
finish() {
    (sleep 60; kill -9 $monitor) 2>/dev/null &
    watchdog=$!
    wait $monitor
    echo $? >"out/$1.status"
    kill $watchdog 2>/dev/null
    echo "$1 $(cat "out/$1.status")"
}
# until_seen FILE TEXT COUNT: waits until lines with the text are there.
until_seen() {
    tries=0
    while [ "$(grep -a -c "$2" "$1")" -lt "$3" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || return 1
        sleep 0.1
    done
}
"#;

/// Starts one guest and waits for its end.
pub(super) fn run(name: &str, job: &mut Job, guest: &Guest) -> String {
    job.file(&format!("{name}.json"), guest.configuration().as_bytes());
    let mut flags = format!("--no-api --config-file {name}.json");
    if guest.pci {
        flags += " --enable-pci";
    }
    if let Some(metadata) = &guest.metadata {
        job.file(&format!("{name}.metadata"), metadata.to_string().as_bytes());
        flags += &format!(" --metadata {name}.metadata");
    }
    format!("start {name} {flags}\nfinish {name}\ndate +%s >out/{name}.date\n")
}

fn enter_pvh(name: &str, job: &mut Job) -> String {
    let arguments = "\"bhojpur.env=MODE=by PVH\" bhojpur.hostname=fc -- exit 42";
    run(name, job, &Guest::new("guest.elf", arguments))
}

fn enter_linux(name: &str, job: &mut Job) -> String {
    let arguments = "\"bhojpur.env=MODE=by Linux\" bhojpur.hostname=fc -- exit 42";
    run(name, job, &Guest::new("guest64.elf", arguments))
}

fn entered(name: &str, outcome: &Outcome) -> Result<String> {
    let way = if name == "entry-pvh" { "PVH" } else { "Linux" };
    let wanted = format!("arguments [\"exit\" \"42\"]\nmode by {way} host fc cpus 1\n");
    Seen::of(name, outcome)?.ended(Exit::Status(42))?.printed(&wanted)?;
    Ok(format!("entered by {way}, exit status 42, Firecracker ended with 0"))
}

fn end_well(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest::new("guest.elf", "-- exit 0"))
}

fn ended_well(name: &str, outcome: &Outcome) -> Result<String> {
    Seen::of(name, outcome)?.ended(Exit::Status(0))?;
    Ok("exit status 0".to_owned())
}

fn be_killed(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest::new("guest.elf", "-- killed"))
}

fn was_killed(name: &str, outcome: &Outcome) -> Result<String> {
    Seen::of(name, outcome)?.ended(Exit::Signal(9))?;
    Ok("killed by signal 9, status 137".to_owned())
}

fn use_cpus(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest { cpus: 4, ..Guest::new("guest.elf", "-- work") })
}

fn used_cpus(name: &str, outcome: &Outcome) -> Result<String> {
    let wanted = "arguments [\"work\"]\nmode  host bhojpur cpus 4\nworked\n";
    Seen::of(name, outcome)?.ended(Exit::Status(0))?.printed(wanted)?;
    Ok("4 CPUs, all of them busy".to_owned())
}

fn be_small(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest { memory_mib: SMALLEST_MIB, ..Guest::new("guest.elf", "-- machine") })
}

/// Enough for the kernel, a program in Go, and nothing else.
const SMALLEST_MIB: u32 = 16;

fn was_small(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    let memory = number(&seen.ended(Exit::Status(0))?.console, "memory")?;
    Ok(format!("{SMALLEST_MIB} MiB, of which the program sees {memory}"))
}

/// More memory than there is below the devices' addresses at 3 GiB.
const LARGEST_MIB: u32 = 4608;
fn largest() -> Guest {
    Guest {
        cpus: 8,
        memory_mib: LARGEST_MIB,
        disks: 8,
        disk: Some(DISK),
        network: true,
        spare_network: true,
        ..Guest::new("guest.elf", "-- machine /dev/vda /dev/vdh")
    }
}

fn be_large(name: &str, job: &mut Job) -> String {
    job.file("disk", &disk());
    run(name, job, &largest())
}

fn be_large_on_pci(name: &str, job: &mut Job) -> String {
    job.file("disk", &disk());
    run(name, job, &Guest { pci: true, ..largest() })
}

fn was_large(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    let memory = number(&seen.ended(Exit::Status(0))?.console, "memory")?;
    let enough = i64::from(LARGEST_MIB) * 9 / 10..=i64::from(LARGEST_MIB);
    ensure!(enough.contains(&memory), "{memory} MiB of {LARGEST_MIB}\n{seen}");
    ensure!(seen.console.contains(" cpus 8\n"), "{seen}");
    let disks = seen.console.matches("\"from the disk\" <nil>\n").count();
    ensure!(disks == 2, "{disks} of 2 disks were read\n{seen}");
    Ok(format!("8 CPUs, {memory} of {LARGEST_MIB} MiB, 8 disks, 2 network cards"))
}

fn tell_date(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest::new("guest.elf", "-- date"))
}

fn told_date(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    seen.ended(Exit::Status(0))?;
    let outside = date(name, outcome)?;
    let inside = number(&seen.console, "date")?;
    ensure!((outside - 20..=outside).contains(&inside), "inside {inside}, outside {outside}");
    let slept = number(&seen.console, "slept")?;
    ensure!((300..10_000).contains(&slept), "300 ms took {slept} ms");
    Ok(format!("{inside} inside, {outside} outside a moment later; 300 ms took {slept} ms"))
}

fn read_disk(name: &str, job: &mut Job) -> String {
    job.file("disk", &disk());
    run(name, job, &Guest { disk: Some(DISK), ..Guest::new("guest.elf", "-- read /dev/vda") })
}

const DISK: Disk = Disk { file: "disk", read_only: true };

fn disk() -> Vec<u8> {
    let mut contents = b"from the disk".to_vec();
    contents.resize(4096, 0);
    contents
}

fn read_from_disk(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    seen.ended(Exit::Status(0))?;
    ensure!(seen.console.ends_with("\"from the disk\" <nil>\n"), "{seen}");
    Ok("/dev/vda was read".to_owned())
}

/// Writes a file in one boot and reads it in the next.
fn keep_file(name: &str, job: &mut Job) -> String {
    let volume = Some(Disk { file: "volume", read_only: false });
    let line = "bhojpur.volume=/dev/vda:/data -- write /data/kept \"for the next boot\"";
    let writer = Guest { disk: volume, ..Guest::new("guest.elf", line) };
    let line = "bhojpur.mount=ext4:/dev/vda:/data:ro -- read /data/kept";
    let reader = Guest { disk: volume, ..Guest::new("guest.elf", line) };
    run(&format!("{name}-writer"), job, &writer) + &run(name, job, &reader)
}

fn kept_file(name: &str, outcome: &Outcome) -> Result<String> {
    let writer = Seen::of(&format!("{name}-writer"), outcome)?;
    ensure!(writer.ended(Exit::Status(0))?.console.ends_with("written <nil>\n"), "{writer}");
    let reader = Seen::of(name, outcome)?;
    let kept = reader.ended(Exit::Status(0))?.console.ends_with("\"for the next boot\" <nil>\n");
    ensure!(kept, "{reader}");
    Ok("ext4, written in one boot (bhojpur.volume=), read in the next (bhojpur.mount=)".to_owned())
}

fn use_pci(name: &str, job: &mut Job) -> String {
    let arguments = "-- read /dev/vda";
    let guest = Guest { pci: true, disk: Some(DISK), ..Guest::new("guest.elf", arguments) };
    job.file("disk", &disk());
    run(name, job, &guest)
}

fn used_pci(name: &str, outcome: &Outcome) -> Result<String> {
    read_from_disk(name, outcome)?;
    Ok("/dev/vda was read over PCI".to_owned())
}

/// Bytes of a long variable: the answer takes many segments.
const LONG: usize = 30_000;

fn ask_much(name: &str, job: &mut Job) -> String {
    let document = json!({"env": {"LONG": "x".repeat(LONG)}, "args": ["length", "LONG"]});
    let store = json!({"bhojpur": document});
    run(name, job, &Guest { metadata: Some(store), ..metadata("") })
}

fn got_much(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    let length = number(&seen.ended(Exit::Status(0))?.console, "length")?;
    ensure!(length == i64::try_from(LONG)?, "{length} bytes came");
    Ok(format!("a variable of {LONG} bytes"))
}

fn metadata(arguments: &'static str) -> Guest {
    let document = json!({
        "args": ["exit", "9"],
        "env": {"MODE": "from \"MMDS\" äöü"},
        "hostname": "meta",
    });
    let store = json!({"bhojpur": document, "latest": {"meta-data": {}}});
    Guest { network: true, metadata: Some(store), ..Guest::new("guest.elf", arguments) }
}

fn ask_metadata(name: &str, job: &mut Job) -> String {
    run(name, job, &metadata("bhojpur.env=MODE=from-the-line -- exit 8"))
}

/// Nobody answers DHCP here.
fn ask_without_address(name: &str, job: &mut Job) -> String {
    run(name, job, &metadata("ip=dhcp -- exit 8"))
}

fn got_metadata(name: &str, outcome: &Outcome) -> Result<String> {
    let wanted = "arguments [\"exit\" \"9\"]\nmode from \"MMDS\" äöü host meta cpus 1\n";
    Seen::of(name, outcome)?.ended(Exit::Status(9))?.printed(wanted)?;
    Ok("arguments, environment and host name from MMDS V2".to_owned())
}

fn ask_nobody(name: &str, job: &mut Job) -> String {
    let store = json!({"latest": {}});
    run(name, job, &Guest { metadata: Some(store), ..metadata("-- exit 8") })
}

fn got_nothing(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    seen.ended(Exit::Status(127))?;
    let said = seen.records.lines().find(|l| l.starts_with("@fatal ")).context("no reason")?;
    ensure!(said.contains("the metadata service: ") && said.contains("404"), "{said}");
    Ok("a store without our document is told of, status 127".to_owned())
}

fn misspell(name: &str, job: &mut Job) -> String {
    run(name, job, &Guest::new("guest.elf", "bhojpur.mout=ext4:/dev/vda:/data -- exit 1"))
}

fn was_told(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    seen.ended(Exit::Status(127))?.printed("")?;
    let wanted = "@fatal the command line: bhojpur.mout: no such option";
    ensure!(seen.records.lines().any(|line| line == wanted), "{seen}");
    Ok("an option that is not known is told of, status 127".to_owned())
}

fn serve(name: &str, job: &mut Job) -> String {
    let guest = Guest { network: true, cpus: 2, ..Guest::new("web.elf", "") };
    job.file(&format!("{name}.json"), guest.configuration().as_bytes());
    format!(
        "start {name} --no-api --config-file {name}.json
until_seen out/{name}.console listening 1
for page in 1 2 3; do timeout 30 wget -q -O - http://{GUEST}:8080/ >>out/{name}.pages; done
ping -c 1 -W 10 {GUEST} >/dev/null && echo answered >out/{name}.ping
kill $monitor
wait $monitor
echo {name} done
"
    )
}

fn served(name: &str, outcome: &Outcome) -> Result<String> {
    let seen = Seen::of(name, outcome)?;
    seen.quiet()?;
    let pages = outcome.files.get(&format!("{name}.pages")).map_or(&b""[..], Vec::as_slice);
    let pages = String::from_utf8_lossy(pages);
    let count = pages.matches("Hello from a unikernel.").count();
    ensure!(count == 3, "{count} of 3 pages came: {pages:?}\n{seen}");
    ensure!(outcome.files.contains_key(&format!("{name}.ping")), "no answer to ping\n{seen}");
    let page = pages.lines().nth(1).unwrap_or_default();
    Ok(format!("3 pages from {GUEST} over {TAP}: {page}"))
}

fn stop(name: &str, job: &mut Job) -> String {
    let guest = Guest::new("guest.elf", "-- ticks");
    job.file(&format!("{name}.json"), guest.configuration().as_bytes());
    let action = json!({"action_type": "SendCtrlAltDel"});
    format!(
        "start {name} --api-sock {name}.sock --config-file {name}.json
until_seen out/{name}.console ^tick 1
./api {name}.sock PUT /actions '{action}'
finish {name}
"
    )
}

fn stopped(name: &str, outcome: &Outcome) -> Result<String> {
    Seen::of(name, outcome)?.ended(Exit::Signal(15))?;
    Ok("Ctrl-Alt-Del is SIGTERM for the program, status 143".to_owned())
}

/// The two machines that are restored from the one snapshot, and what this machine
/// tells time by then: the second one cannot go on with the counters.
const TWINS: [(&str, &str); 2] = [("twin1", "tsc"), ("twin2", "acpi_pm")];
/// Seconds between the snapshot and the first restore.
const GAP: i64 = 6;

fn snapshot(name: &str, job: &mut Job) -> String {
    let guest = Guest { cpus: 2, ..Guest::new("guest.elf", "-- ticks") };
    job.file(&format!("{name}.json"), guest.configuration().as_bytes());
    let create = json!({
        "snapshot_type": "Full", "snapshot_path": "state", "mem_file_path": "memory",
    });
    let load = json!({
        "snapshot_path": "state", "resume_vm": true,
        "mem_backend": {"backend_type": "File", "backend_path": "memory"},
    });
    let mut script = format!(
        "start {name} --api-sock {name}.sock --config-file {name}.json
until_seen out/{name}.console ^tick 3
./api {name}.sock PATCH /vm '{{\"state\": \"Paused\"}}'
./api {name}.sock PUT /snapshot/create '{create}'
kill -9 $monitor
wait $monitor
sleep {GAP}
"
    );
    for (twin, source) in TWINS {
        script += &clock::choose(source, twin);
        script += &format!(
            "start {twin} --api-sock {twin}.sock
date +%s >out/{twin}-before.date
./api {twin}.sock PUT /snapshot/load '{load}'
until_seen out/{twin}.console ^tick 5
kill -9 $monitor
wait $monitor
date +%s >out/{twin}.date
"
        );
    }
    script + &clock::choose("tsc", name)
}

fn restored(name: &str, outcome: &Outcome) -> Result<String> {
    let before = Seen::of(name, outcome)?;
    let last = ticks(&before.console).last().copied().context("no tick before the snapshot")?;
    let mut random = BTreeSet::new();
    let mut count = 0;
    for (twin, source) in TWINS {
        let seen = Seen::of(twin, outcome)?;
        seen.quiet()?;
        let told = ticks(&seen.console);
        let first = told.first().context("no tick")?;
        ensure!(first.number <= last.number + 2, "the program did not go on: {first:?}\n{seen}");
        ensure!(
            told.windows(2).all(|w| w[0].up <= w[1].up) && first.up >= last.up,
            "time ran backwards after {last:?}\n{seen}"
        );
        ensure!(first.up < last.up + 1000 * GAP, "the program saw the pause\n{seen}");
        // The first one may have been on its way at the time of the snapshot.
        let while_it_ran = date(&format!("{twin}-before"), outcome)? - 1..=date(twin, outcome)? + 1;
        ensure!(
            told.iter().skip(1).all(|tick| while_it_ran.contains(&tick.date)),
            "not all dates are in {while_it_ran:?}\n{seen}"
        );
        ensure!(seen.records.contains("the machine was restored"), "{seen}");
        let by_kvm_clock = clock::sources(twin, outcome) == "acpi_pm ";
        ensure!(
            !by_kvm_clock || seen.records.contains(clock::BY_KVM_CLOCK),
            "{twin} goes on with counters that {source} mistrusts\n{seen}"
        );
        count += told.len();
        random.extend(told.into_iter().map(|tick| tick.random));
    }
    ensure!(random.len() == count, "twins have random numbers in common\n{random:?}");
    Ok(format!(
        "two resumed from one snapshot: program goes on, date set, {count} random numbers all differ"
    ))
}

#[derive(Clone, Copy, Debug)]
struct Tick {
    number: i64,
    up: i64,
    date: i64,
    random: u64,
}

/// The whole lines `tick N up MS date SECONDS random HEX`.
fn ticks(console: &str) -> Vec<Tick> {
    let tick = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let ["tick", number, "up", up, "date", date, "random", random] = words[..] else {
            return None;
        };
        Some(Tick {
            number: number.parse().ok()?,
            up: up.parse().ok()?,
            date: date.parse().ok()?,
            random: (random.len() == 16).then(|| u64::from_str_radix(random, 16).ok())??,
        })
    };
    console.lines().filter_map(tick).collect()
}

/// The number behind a word that starts a line.
pub(super) fn number(console: &str, word: &str) -> Result<i64> {
    let mut found = console.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let text = found.next().with_context(|| format!("no {word} in {console:?}"))?;
    text.parse().with_context(|| format!("{word} {text}"))
}

/// The date of the machine around the guest when the check was over.
pub(super) fn date(name: &str, outcome: &Outcome) -> Result<i64> {
    let bytes = outcome.files.get(&format!("{name}.date")).context("no date")?;
    Ok(String::from_utf8_lossy(bytes).trim().parse()?)
}
