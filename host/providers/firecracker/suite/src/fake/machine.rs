// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine behind the API: what may be asked when, and in which words it is refused.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::boot::{self, Disk, Inside};
use super::guest::{Guest, Progress};
use super::http::{Request, Response};
use super::model::{
    Action, ActionType, BackendType, BootSource, CpuTemplate, Drive, Entropy, HugePages, Logger,
    MachineConfig, MmdsConfig, NetworkInterface, Serial, SnapshotCreate, SnapshotLoad,
    SnapshotType, Vm, VmState,
};
use super::{Log, VERSION};

/// Longest command line, CMDLINE_MAX_SIZE.
const COMMAND_LINE_MAX: usize = 2048;
const POST_BOOT: &str = "The requested operation is not supported after starting the microVM.";
const PRE_BOOT: &str = "The requested operation is not supported before starting the microVM.";

/// A refusal: status and message.
type Refused = (u16, String);
type Answer = Result<Response, Refused>;

fn refused<T>(message: impl Into<String>) -> Result<T, Refused> {
    Err((400, message.into()))
}

/// What a snapshot keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    format: String,
    machine: MachineConfig,
    drives: Vec<Drive>,
    interfaces: Vec<NetworkInterface>,
    guest: Inside,
    progress: Progress,
}

const SNAPSHOT_FORMAT: &str = "fake-firecracker-1";

/// All that has been said about the machine, and the machine once it runs.
#[derive(Debug)]
pub struct Machine {
    id: String,
    log: Log,
    interfaces_directory: Option<PathBuf>,
    mmds_limit: usize,
    boot_source: Option<BootSource>,
    machine: MachineConfig,
    drives: Vec<Drive>,
    interfaces: Vec<NetworkInterface>,
    mmds_config: Option<MmdsConfig>,
    mmds: Option<Value>,
    /// Something was configured, so that no snapshot can be loaded any more.
    boot_path: bool,
    guest: Option<Arc<Guest>>,
    inside: Option<Inside>,
    paused: bool,
}

impl Machine {
    /// A machine of which nothing is known. Tap devices have to be in `interfaces_directory`.
    pub fn new(id: &str, log: Log, interfaces: Option<PathBuf>, mmds_limit: usize) -> Self {
        Self {
            id: id.to_owned(),
            log,
            interfaces_directory: interfaces,
            mmds_limit,
            boot_source: None,
            machine: MachineConfig::default(),
            drives: Vec::new(),
            interfaces: Vec::new(),
            mmds_config: None,
            mmds: None,
            boot_path: false,
            guest: None,
            inside: None,
            paused: false,
        }
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &Request) -> Response {
        self.log.line(&format!(
            "The API server received a {} request on {:?}.",
            request.method, request.path
        ));
        self.answer(request).unwrap_or_else(|(status, message)| {
            self.log.line(&format!("Received Error. Status code: {status}. Message: {message}"));
            Response::fault(status, &message)
        })
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.trim_start_matches('/').split_terminator('/').collect();
        let invalid = || {
            let first = path.first().copied().unwrap_or("");
            refused(format!("Invalid request method and/or path: {} {first}.", request.method))
        };
        match (request.method.as_str(), &request.body) {
            ("GET", Some(_)) => refused("GET request cannot have a body."),
            ("PUT", None) => refused("Empty PUT request."),
            ("PATCH", None) => refused("Empty PATCH request."),
            ("GET", None) => match path[..] {
                [] => Ok(Response::ok(&self.describe())),
                ["version"] => Ok(Response::ok(&json!({ "firecracker_version": VERSION }))),
                ["machine-config"] => Ok(Response::ok(&self.machine)),
                ["mmds"] => Ok(Response::ok(self.mmds.as_ref().unwrap_or(&json!({})))),
                ["vm", "config"] => Ok(Response::ok(&self.whole())),
                _ => invalid(),
            },
            ("PUT", Some(body)) => match path[..] {
                ["boot-source"] => self.set_boot_source(parse(body)?),
                ["machine-config"] => self.set_machine(parse(body)?),
                ["drives"] | ["network-interfaces"] => refused("The ID cannot be empty."),
                ["drives", id] => self.add_drive(checked(id)?, parse(body)?),
                ["network-interfaces", id] => self.add_interface(checked(id)?, parse(body)?),
                ["mmds", "config"] => self.set_mmds_config(parse(body)?),
                ["mmds", other] => refused(format!("Unrecognized PUT request path `{other}`.")),
                ["mmds"] => self.set_mmds(parse(body)?, body.len()),
                ["entropy"] => {
                    parse::<Entropy>(body)?;
                    self.before()?;
                    Ok(Response::no_content())
                }
                ["logger"] => {
                    self.pre_boot()?;
                    let Logger { log_path, .. } = parse(body)?;
                    log_path.map_or(Ok(()), |path| self.log.redirect(&path)).map_or_else(
                        |error| {
                            refused(format!("Logger error: Failed to open target file: {error}"))
                        },
                        |()| Ok(Response::no_content()),
                    )
                }
                ["serial"] => {
                    parse::<Serial>(body)?;
                    self.pre_boot()?;
                    refused("The fake knows no serial line but standard output.")
                }
                ["actions"] => self.act(parse::<Action>(body)?.action_type),
                ["snapshot", "create"] => self.save(&parse(body)?),
                ["snapshot", "load"] => self.load(&parse(body)?),
                ["snapshot"] => refused("Missing snapshot operation type."),
                _ => invalid(),
            },
            ("PATCH", Some(body)) => match path[..] {
                ["vm"] => self.hold(parse::<Vm>(body)?.state),
                _ => invalid(),
            },
            _ => invalid(),
        }
    }

    fn describe(&self) -> Value {
        let state = match (&self.guest, self.paused) {
            (None, _) => "Not started",
            (Some(_), true) => "Paused",
            (Some(_), false) => "Running",
        };
        json!({
            "id": self.id, "state": state, "vmm_version": VERSION, "app_name": "Firecracker",
        })
    }

    fn whole(&self) -> Value {
        json!({
            "boot-source": self.boot_source, "machine-config": self.machine,
            "drives": self.drives, "network-interfaces": self.interfaces,
            "mmds-config": self.mmds_config,
        })
    }

    fn pre_boot(&self) -> Result<(), Refused> {
        if self.guest.is_some() { refused(POST_BOOT) } else { Ok(()) }
    }

    /// Allowed before the start alone, and the end of loading snapshots.
    fn before(&mut self) -> Result<(), Refused> {
        self.pre_boot()?;
        self.boot_path = true;
        Ok(())
    }

    fn set_boot_source(&mut self, source: BootSource) -> Answer {
        self.before()?;
        if let Err(error) = File::open(&source.kernel_image_path) {
            return refused(format!(
                "Boot source error: The kernel file cannot be opened: {error}"
            ));
        }
        if let Some(Err(error)) = source.initrd_path.as_ref().map(File::open) {
            return refused(format!(
                "Boot source error: The initrd file cannot be opened due to invalid path or \
                 invalid permissions. {error}"
            ));
        }
        let line = source.boot_args.as_deref().unwrap_or("");
        // One byte is for the zero at its end.
        let problem = if line.len() >= COMMAND_LINE_MAX {
            Some("Command line string capacity too small.")
        } else if line.chars().any(|c| !matches!(c, ' '..='~')) {
            Some("String contains a non-printable ASCII character.")
        } else {
            None
        };
        if let Some(problem) = problem {
            return refused(format!(
                "Boot source error: The kernel command line is invalid: {problem}"
            ));
        }
        self.boot_source = Some(source);
        Ok(Response::no_content())
    }

    fn set_machine(&mut self, machine: MachineConfig) -> Answer {
        self.before()?;
        let cpus = machine.vcpu_count;
        if cpus == 0 || cpus > 32 || (machine.smt && cpus > 1 && cpus % 2 == 1) {
            return refused(
                "Machine config error: The number of vCPUs must be greater than 0, less than 32 \
                 and must be 1 or an even number if SMT is enabled.",
            );
        }
        let odd = machine.huge_pages != HugePages::None && machine.mem_size_mib % 2 == 1;
        if machine.mem_size_mib == 0 || odd {
            return refused(
                "Machine config error: The memory size (MiB) is either 0, or not a multiple of \
                 the configured page size.",
            );
        }
        self.machine = machine;
        Ok(Response::no_content())
    }

    fn add_drive(&mut self, id: &str, drive: Drive) -> Answer {
        if id != drive.drive_id {
            return refused("The id from the path does not match the id from the body!");
        }
        if self.guest.is_some() {
            // Without --enable-pci nothing can be plugged in.
            return refused("PCI is not enabled");
        }
        self.before()?;
        let (Some(path), None) = (&drive.path_on_host, &drive.socket) else {
            return refused(
                "Drive config error: Unable to create the virtio block device: Invalid \
                 configuration",
            );
        };
        let read_only = drive.is_read_only.unwrap_or(false);
        if let Err(error) = OpenOptions::new().read(true).write(!read_only).open(path) {
            return refused(format!(
                "Drive config error: Unable to create the virtio block device: Virtio backend \
                 error: Error manipulating the backing file: {error} {path}"
            ));
        }
        let first_is_root = self.drives.first().is_some_and(|first| first.is_root_device);
        let position = self.drives.iter().position(|other| other.drive_id == id);
        if drive.is_root_device && first_is_root && position != Some(0) {
            return refused("Drive config error: A root block device already exists!");
        }
        match position {
            Some(index) => self.drives[index] = drive,
            None if drive.is_root_device => self.drives.insert(0, drive),
            None => self.drives.push(drive),
        }
        Ok(Response::no_content())
    }

    fn add_interface(&mut self, id: &str, interface: NetworkInterface) -> Answer {
        if id != interface.iface_id {
            return refused(format!(
                "The id from the path [{id}] does not match the id from the body [{}]!",
                interface.iface_id
            ));
        }
        if self.guest.is_some() {
            return refused("PCI is not enabled");
        }
        self.before()?;
        if let Some(mac) = &interface.guest_mac {
            let bytes: Vec<&str> = mac.split(':').collect();
            let byte = |text: &&str| text.len() == 2 && u8::from_str_radix(text, 16).is_ok();
            if bytes.len() != 6 || !bytes.iter().all(byte) {
                return refused(
                    "An error occurred when deserializing the json body of a request: invalid \
                     value: string, expected a MAC address.",
                );
            }
            let twice = |other: &NetworkInterface| {
                other.iface_id != id && other.guest_mac.as_deref() == Some(mac)
            };
            if self.interfaces.iter().any(twice) {
                return refused(format!(
                    "Network config error: The MAC address is already in use: {mac}"
                ));
            }
        }
        self.tap(&interface.host_dev_name)?;
        self.interfaces.retain(|other| other.iface_id != id);
        self.interfaces.push(interface);
        Ok(Response::no_content())
    }

    /// Whether a tap device could be opened.
    fn tap(&self, name: &str) -> Result<(), Refused> {
        let error = |why: &str| {
            refused(format!(
                "Network config error: Could not create the network device: Open tap device \
                 failed: {why}"
            ))
        };
        if name.len() >= 16 {
            return error("Invalid interface name");
        }
        match &self.interfaces_directory {
            Some(directory) if !directory.join(name).join("tun_flags").exists() => error(&format!(
                "Error while creating ifreq structure: Operation not permitted (os error 1). \
                 Invalid TUN/TAP Backend provided by {name}. Check our documentation on setting \
                 up the network devices."
            )),
            _ => Ok(()),
        }
    }

    fn set_mmds_config(&mut self, config: MmdsConfig) -> Answer {
        self.before()?;
        let problem = if config.ipv4_address.is_some_and(|address| !address.is_link_local()) {
            Some("The MMDS IPv4 address is not link local.")
        } else if config.network_interfaces.is_empty() {
            Some("The list of network interface IDs that allow forwarding MMDS requests is empty.")
        } else if !config
            .network_interfaces
            .iter()
            .all(|id| self.interfaces.iter().any(|interface| interface.iface_id == *id))
        {
            Some(
                "The list of network interface IDs provided contains at least one ID that does \
                 not correspond to any existing network interface.",
            )
        } else {
            None
        };
        if let Some(problem) = problem {
            return refused(format!("MMMDS config error: {problem}"));
        }
        self.mmds_config = Some(config);
        Ok(Response::no_content())
    }

    fn set_mmds(&mut self, value: Value, length: usize) -> Answer {
        if length > self.mmds_limit {
            let message = "MMDS limit exceeded error: The MMDS patch request doesn't fit.";
            return Err((413, message.to_owned()));
        }
        self.mmds = Some(value);
        Ok(Response::no_content())
    }

    fn act(&mut self, action: ActionType) -> Answer {
        match (action, &self.guest) {
            (ActionType::InstanceStart, Some(_)) => refused(POST_BOOT),
            (ActionType::InstanceStart, None) => self.start(),
            (_, None) => refused(PRE_BOOT),
            (ActionType::SendCtrlAltDel, Some(guest)) => {
                guest.interrupt();
                Ok(Response::no_content())
            }
            (ActionType::FlushMetrics, Some(_)) => Ok(Response::no_content()),
        }
    }

    fn start(&mut self) -> Answer {
        let Some(source) = &self.boot_source else {
            return refused(
                "Start microvm error: Cannot start microvm without kernel configuration.",
            );
        };
        if !matches!(self.machine.cpu_template, None | Some(CpuTemplate::None)) {
            return refused(
                "Start microvm error: Failed to create guest config: The CPU template is not \
                 valid for this CPU",
            );
        }
        let mut line = source.boot_args.clone().unwrap_or_default();
        let devices = self.drives.len() + self.interfaces.len() + 1;
        let added: String = (0..devices)
            .map(|n| {
                format!(
                    " virtio_mmio.device=4K@0x{:x}:{}",
                    0xc000_1000_u64 + (n as u64) * 4096,
                    5 + n
                )
            })
            .collect();
        let (before, behind) = match line.split_once(" -- ") {
            Some((before, behind)) => (before.to_owned(), format!(" -- {behind}")),
            None => (line.clone(), String::new()),
        };
        line = format!("{before} pci=off{added}{behind}");
        if line.len() >= COMMAND_LINE_MAX {
            return refused(
                "Start microvm error: Invalid kernel command line: Command line string capacity \
                 too small.",
            );
        }
        let served = self.mmds_config.as_ref().map(|config| config.network_interfaces.as_slice());
        let store = served.and(self.mmds.as_ref());
        let inside = boot::read(Path::new(&source.kernel_image_path), &line, store)
            .map(|inside| inside.on(self.disks(), &self.machine));
        let inside = match inside {
            Ok(inside) => inside,
            Err(boot::Error::Image(error)) => {
                return refused(format!("Start microvm error: Cannot load kernel: {error}"));
            }
            // The machine starts, and its kernel says that it cannot go on.
            Err(boot::Error::Guest(error)) => Inside::failing(&error),
        };
        self.inside = Some(inside.clone());
        self.guest = Some(Guest::start(inside, Progress::default(), self.log.clone()));
        Ok(Response::no_content())
    }

    fn disks(&self) -> Vec<Disk> {
        let disk = |drive: &Drive| Disk {
            path: drive.path_on_host.clone().unwrap_or_default(),
            read_only: drive.is_read_only.unwrap_or(false),
        };
        self.drives.iter().map(disk).collect()
    }

    fn hold(&mut self, state: VmState) -> Answer {
        let Some(guest) = &self.guest else { return refused(PRE_BOOT) };
        // As with the real one, what is asked for twice succeeds twice.
        self.paused = state == VmState::Paused;
        guest.hold(self.paused);
        Ok(Response::no_content())
    }

    fn save(&mut self, request: &SnapshotCreate) -> Answer {
        let (Some(guest), Some(inside)) = (&self.guest, &self.inside) else {
            return refused(PRE_BOOT);
        };
        if !self.paused {
            return refused(
                "Create snapshot error: Cannot save the microVM state: Operation not allowed: \
                 save/restore unavailable while running",
            );
        }
        if request.snapshot_type == SnapshotType::Diff && !self.machine.track_dirty_pages {
            return refused(
                "Create snapshot error: Cannot get dirty bitmap: No such file (os error 2)",
            );
        }
        let saved = Saved {
            format: SNAPSHOT_FORMAT.to_owned(),
            machine: self.machine.clone(),
            drives: self.drives.clone(),
            interfaces: self.interfaces.clone(),
            guest: inside.clone(),
            progress: guest.progress(),
        };
        let write = || -> std::io::Result<()> {
            std::fs::write(&request.snapshot_path, serde_json::to_vec(&saved)?)?;
            let memory = File::create(&request.mem_file_path)?;
            memory.set_len((self.machine.mem_size_mib as u64) << 20)
        };
        if let Err(error) = write() {
            return refused(format!(
                "Create snapshot error: Cannot perform open on the snapshot backing file: {error}"
            ));
        }
        Ok(Response::no_content())
    }

    fn load(&mut self, request: &SnapshotLoad) -> Answer {
        let json = |message: &str| {
            refused(format!(
                "An error occurred when deserializing the json body of a request: {message}."
            ))
        };
        let backend = match (&request.mem_backend, &request.mem_file_path) {
            (Some(_), Some(_)) => {
                return json(
                    "too many fields: either `mem_backend` or `mem_file_path` exclusively is required",
                );
            }
            (None, None) => {
                return json("missing field: either `mem_backend` or `mem_file_path` is required");
            }
            (Some(backend), None) if backend.backend_type == BackendType::File => {
                &backend.backend_path
            }
            (Some(_), None) => return refused("The fake knows no userfaultfd."),
            (None, Some(path)) => path,
        };
        self.pre_boot()?;
        if self.boot_path {
            return refused(
                "Load snapshot error: Loading a microVM snapshot not allowed after configuring \
                 boot-specific resources.",
            );
        }
        let restored = self.restore(request, backend);
        restored.or_else(|message| {
            // As the real one: what failed in the middle cannot go on.
            self.log.line(&format!("RunWithApiError error: {message}"));
            refused(format!("Load snapshot error: Failed to restore from snapshot: {message}"))
        })
    }

    fn restore(&mut self, request: &SnapshotLoad, memory: &Path) -> Result<Response, String> {
        let state = std::fs::read(&request.snapshot_path)
            .map_err(|error| format!("Failed to open snapshot file: {error}"))?;
        let mut saved: Saved = serde_json::from_slice(&state)
            .map_err(|error| format!("Failed to load snapshot state from file: {error}"))?;
        if saved.format != SNAPSHOT_FORMAT {
            return Err("Invalid snapshot state".to_owned());
        }
        let length = memory.metadata().map_err(|error| error.to_string())?.len();
        if length != (saved.machine.mem_size_mib as u64) << 20 {
            return Err("Failed to load guest memory: file size".to_owned());
        }
        let known: BTreeSet<&str> =
            saved.interfaces.iter().map(|interface| interface.iface_id.as_str()).collect();
        if request.network_overrides.iter().any(|one| !known.contains(one.iface_id.as_str())) {
            return Err("Unknown Network Device.".to_owned());
        }
        for interface in &mut saved.interfaces {
            let named = request.network_overrides.iter().find(|o| o.iface_id == interface.iface_id);
            if let Some(other) = named {
                interface.host_dev_name.clone_from(&other.host_dev_name);
            }
            self.tap(&interface.host_dev_name).map_err(|(_, message)| message)?;
        }
        for drive in &saved.drives {
            let path = drive.path_on_host.clone().unwrap_or_default();
            File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        }
        self.machine = saved.machine;
        self.drives = saved.drives;
        self.interfaces = saved.interfaces;
        self.inside = Some(saved.guest.clone());
        self.paused = !request.resume_vm;
        let guest = Guest::start(saved.guest, saved.progress, self.log.clone());
        guest.hold(self.paused);
        self.guest = Some(guest);
        Ok(Response::no_content())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        (400, format!("An error occurred when deserializing the json body of a request: {error}."))
    })
}

fn checked(id: &str) -> Result<&str, Refused> {
    if id.is_empty() {
        return refused("The ID cannot be empty.");
    }
    if !id.chars().all(|c| c == '_' || c.is_alphanumeric()) {
        return refused(
            "API Resource IDs can only contain alphanumeric characters and underscores.",
        );
    }
    Ok(id)
}
