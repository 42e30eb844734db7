// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fake refuses what Firecracker refuses, in its words.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A fake with its directory; it ends with this.
struct Fake {
    process: Child,
    directory: tempfile::TempDir,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Fake {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_fake-firecracker"))
            .args(["--id", "0123", "--api-sock", "api.sock", "--log-path", "log"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let fake = Self { process, directory };
        let socket = fake.path("api.sock");
        for _ in 0..3000 {
            if UnixStream::connect(&socket).is_ok() {
                return fake;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the fake does not listen");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Status and body of the answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.path("api.sock")).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn put(&self, path: &str, body: &str) -> (u16, String) {
        self.ask("PUT", path, body)
    }

    fn accepts(&self, path: &str, body: &str) {
        assert_eq!(self.put(path, body), (204, String::new()), "PUT {path} {body}");
    }

    fn refuses(&self, path: &str, body: &str, why: &str) {
        let (status, answer) = self.put(path, body);
        assert_eq!(status, 400, "PUT {path} {body}: {answer}");
        let fault: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let message = fault["fault_message"].as_str().unwrap();
        assert!(message.contains(why), "PUT {path} {body}: {message}");
    }
}

/// The image of the suite, once for all tests of this process. It lies with what cargo builds:
/// nothing would remove it from a temporary directory when the process ends.
fn image() -> &'static Path {
    static IMAGE: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    IMAGE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let scratch = tempfile::tempdir_in(place).unwrap();
        let kernel = bhojpur_kernel_embedded::KERNEL;
        let image = bhojpur_conformance::image::build(kernel, scratch.path()).unwrap();
        let path = place.join("strict.elf");
        std::fs::rename(image.path, &path).unwrap();
        path
    })
}

fn boot_source(args: &str) -> String {
    let path = image().display();
    format!(r#"{{"kernel_image_path":"{path}","boot_args":"bhojpur.control=serial -- {args}"}}"#)
}

const START: &str = r#"{"action_type":"InstanceStart"}"#;
const PAUSED: &str = r#"{"state":"Paused"}"#;

#[test]
fn bodies_are_exact() {
    let fake = Fake::start();
    let json = "An error occurred when deserializing the json body of a request: ";
    fake.refuses("/machine-config", "{", json);
    fake.refuses("/machine-config", r#"{"vcpu_count":1}"#, "missing field `mem_size_mib`");
    fake.refuses(
        "/machine-config",
        r#"{"vcpu_count":1,"mem_size_mib":64,"ht_enabled":false}"#,
        "unknown field `ht_enabled`",
    );
    fake.refuses("/machine-config", r#"{"vcpu_count":"1","mem_size_mib":64}"#, "invalid type");
    fake.refuses("/machine-config", r#"{"vcpu_count":300,"mem_size_mib":64}"#, "invalid value");
    for (cpus, smt) in [(0, false), (33, false), (3, true)] {
        let body = format!(r#"{{"vcpu_count":{cpus},"mem_size_mib":64,"smt":{smt}}}"#);
        fake.refuses("/machine-config", &body, "The number of vCPUs must be greater than 0");
    }
    fake.refuses("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":0}"#, "memory size (MiB)");
    fake.accepts("/machine-config", r#"{"vcpu_count":32,"mem_size_mib":1}"#);
    fake.refuses("/actions", r#"{"action_type":"Reboot"}"#, "unknown variant `Reboot`");
    fake.refuses("/vsock2", "{}", "Invalid request method and/or path: PUT vsock2.");
    assert_eq!(fake.ask("GET", "/version", "").0, 200);
    assert_eq!(fake.ask("GET", "/version", "{}").0, 400);
    assert_eq!(fake.ask("PATCH", "/vm", "").0, 400);
    assert_eq!(fake.put("/mmds", &format!("\"{}\"", "x".repeat(60_000))).0, 413);
}

#[test]
fn names_and_files_are_looked_at() {
    let fake = Fake::start();
    std::fs::write(fake.path("disk"), [0; 4096]).unwrap();
    let disk = fake.path("disk").display().to_string();
    let drive = |id: &str, path: &str, root: bool| {
        format!(r#"{{"drive_id":"{id}","path_on_host":"{path}","is_root_device":{root}}}"#)
    };
    fake.refuses("/drives/a-b", &drive("a-b", &disk, false), "alphanumeric characters");
    fake.refuses("/drives/a", &drive("b", &disk, false), "does not match the id from the body");
    fake.refuses("/drives", &drive("a", &disk, false), "The ID cannot be empty.");
    fake.refuses("/drives/a", &drive("a", "/none", false), "backing file");
    fake.refuses("/drives/a", r#"{"drive_id":"a","is_root_device":false}"#, "Invalid");
    fake.accepts("/drives/a", &drive("a", &disk, true));
    fake.refuses("/drives/b", &drive("b", &disk, true), "A root block device already exists!");
    let source = |path: &str, line: &str| {
        format!(r#"{{"kernel_image_path":"{path}","boot_args":"{line}"}}"#)
    };
    fake.refuses("/boot-source", &source("/none", ""), "The kernel file cannot be opened");
    fake.refuses("/boot-source", &source(&disk, &"x".repeat(2048)), "capacity too small");
    fake.refuses("/boot-source", &source(&disk, "ü"), "non-printable ASCII");
    let net = |id: &str, mac: &str| {
        format!(r#"{{"iface_id":"{id}","host_dev_name":"tap0","guest_mac":"{mac}"}}"#)
    };
    fake.refuses("/network-interfaces/x", &net("x", "02:00"), "MAC address");
    fake.accepts("/network-interfaces/x", &net("x", "02:00:00:00:00:01"));
    fake.refuses("/network-interfaces/y", &net("y", "02:00:00:00:00:01"), "already in use");
    let mmds = |ids: &str, address: &str| {
        format!(r#"{{"version":"V2","network_interfaces":[{ids}],"ipv4_address":"{address}"}}"#)
    };
    fake.refuses("/mmds/config", &mmds("\"z\"", "169.254.169.254"), "does not correspond");
    fake.refuses("/mmds/config", &mmds("", "169.254.169.254"), "is empty");
    fake.refuses("/mmds/config", &mmds("\"x\"", "10.0.0.1"), "not link local");
    fake.accepts("/mmds/config", &mmds("\"x\"", "169.254.169.254"));
}

#[test]
fn order_matters() {
    let fake = Fake::start();
    let (before, after) = ("before starting the microVM", "after starting the microVM");
    fake.refuses("/actions", START, "Cannot start microvm without kernel configuration.");
    fake.refuses("/actions", r#"{"action_type":"SendCtrlAltDel"}"#, before);
    assert_eq!(fake.ask("PATCH", "/vm", PAUSED).0, 400);
    let template = r#"{"vcpu_count":1,"mem_size_mib":64,"cpu_template":"T2"}"#;
    fake.accepts("/machine-config", template);
    fake.accepts("/boot-source", &boot_source("wait"));
    fake.refuses("/actions", START, "CPU template");
    fake.accepts("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#);
    let load = r#"{"snapshot_path":"s","mem_backend":{"backend_path":"m","backend_type":"File"}}"#;
    fake.refuses("/snapshot/load", load, "not allowed after configuring boot-specific resources");
    assert!(fake.ask("GET", "/", "").1.contains("Not started"));
    fake.accepts("/actions", START);
    fake.refuses("/actions", START, after);
    fake.refuses("/boot-source", &boot_source("wait"), after);
    fake.refuses("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#, after);
    fake.refuses("/entropy", "{}", after);
    let disk = fake.path("log").display().to_string();
    let drive = format!(r#"{{"drive_id":"a","path_on_host":"{disk}","is_root_device":false}}"#);
    fake.refuses("/drives/a", &drive, "PCI is not enabled");
    let save = r#"{"snapshot_path":"s","mem_file_path":"m"}"#;
    fake.refuses("/snapshot/create", save, "Operation not allowed");
    assert_eq!(fake.ask("PATCH", "/vm", PAUSED).0, 204);
    assert!(fake.ask("GET", "/", "").1.contains("Paused"));
    fake.accepts("/snapshot/create", save);
    assert_eq!(fake.path("m").metadata().unwrap().len(), 64 << 20);
}

#[test]
fn snapshots_have_to_fit() {
    let fake = Fake::start();
    let load = |more: &str| format!(r#"{{"snapshot_path":"/none"{more}}}"#);
    fake.refuses("/snapshot/load", &load(""), "either `mem_backend` or `mem_file_path`");
    let backend = r#","mem_backend":{"backend_path":"m","backend_type":"File"}"#;
    fake.refuses("/snapshot/load", &load(backend), "Failed to open snapshot file");
    fake.refuses("/snapshot/load", &load(&format!("{backend},\"resume\":true")), "unknown field");
}

#[test]
fn arguments_are_exact() {
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-firecracker"));
        command.args(words).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(run(&["--version"]), Some(0));
    assert_eq!(run(&["--api-socket", "x"]), Some(153));
    assert_eq!(run(&["--api-sock"]), Some(153));
    assert_eq!(run(&["--id", "a", "--id", "b"]), Some(153));
    assert_eq!(run(&["--level", "Loud"]), Some(153));
    assert_eq!(run(&["--id", "under_score", "--api-sock", "/none/x"]), Some(1));
    assert_eq!(run(&["--api-sock", "/none/x"]), Some(1));
}
