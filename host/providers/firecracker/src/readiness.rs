// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether Firecracker works on this machine, found out by looking.

use std::path::Path;

use bhojpur_provider::{Error, ErrorKind, Readiness, Result};
use rustix::fs::Access;
use tokio::process::Command;

use crate::config::Config;
use crate::jail::{LINKED, is_linked_dynamically};
use crate::network::RIGHTS;

/// CAP_NET_ADMIN of capabilities(7).
const NET_ADMIN: u32 = 12;

fn missing(reason: impl Into<String>, advice: impl Into<String>) -> Readiness {
    Readiness::Missing { reason: reason.into(), advice: advice.into() }
}

/// What to do when there is no Firecracker.
pub(crate) const INSTALL: &str = "download a release of firecracker-microvm/firecracker from GitHub \
     and put release-*/firecracker-* into the path as firecracker, or set FIRECRACKER";

/// Says that there is no Firecracker, where one was asked for.
pub(crate) fn absent(config: &Config) -> String {
    let asked = config.binary.clone().or_else(|| std::env::var_os("FIRECRACKER").map(Into::into));
    match asked {
        Some(path) => format!("there is no Firecracker at {}", path.display()),
        None => "firecracker is not installed".to_owned(),
    }
}

/// Looks at everything that a start needs, and names the first that is missing.
pub(crate) async fn look(config: &Config) -> Readiness {
    let Some(binary) = config.find() else { return missing(absent(config), INSTALL) };
    if let Some(lack) = lack(config, &binary, true) {
        return lack;
    }
    let output = Command::new(&binary).arg("--version").output().await;
    let version = match &output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().find(|line| line.starts_with("Firecracker v")).map(str::to_owned)
        }
        _ => None,
    };
    let Some(version) = version else {
        let reason = format!("{} --version does not work", binary.display());
        return missing(reason, "is it Firecracker, and for this machine?");
    };
    let jail = if config.jailer.is_some() { ", in a jail" } else { "" };
    Readiness::Ready { found: format!("{version} at {}, with KVM{jail}", binary.display()) }
}

/// Refuses a start that this machine cannot do: Firecracker and the jailer would say less, and
/// after half of the work. Without a tap device of our own, nothing is asked for one.
pub(crate) fn demand(config: &Config, binary: &Path, taps: bool) -> Result<()> {
    match lack(config, binary, taps) {
        Some(Readiness::Missing { reason, advice }) => {
            Err(Error::new(ErrorKind::NotReady, reason).advise(advice))
        }
        _ => Ok(()),
    }
}

fn lack(config: &Config, binary: &Path, taps: bool) -> Option<Readiness> {
    let tap_devices = || taps.then(|| devices(config)).flatten();
    jail(config, binary).or_else(|| hardware(config)).or_else(tap_devices)
}

fn jail(config: &Config, binary: &Path) -> Option<Readiness> {
    let jailer = config.jailer.as_ref()?;
    if rustix::fs::access(&jailer.binary, Access::EXEC_OK).is_err() {
        return Some(missing(
            format!("there is no jailer at {}", jailer.binary.display()),
            "it comes with Firecracker's release; name it in the daemon's configuration",
        ));
    }
    if !rustix::process::geteuid().is_root() {
        let advice = "run the daemon as root, or without a jailer";
        return Some(missing("the jailer needs root", advice));
    }
    let reason = || format!("{} {}", binary.display(), LINKED[0]);
    is_linked_dynamically(binary).then(|| missing(reason(), LINKED[1]))
}

fn hardware(config: &Config) -> Option<Readiness> {
    let kvm = &config.host.kvm;
    if !kvm.exists() {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let virtual_machines = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
        let advice = if virtual_machines {
            "load its module: modprobe kvm_intel, or kvm_amd"
        } else {
            "this processor shows neither vmx nor svm: switch virtualization on in the firmware, \
             or nested virtualization for this virtual machine; qemu works without"
        };
        return Some(missing(
            format!("there is no {}, which Firecracker needs", kvm.display()),
            advice,
        ));
    }
    if rustix::fs::access(kvm, Access::READ_OK | Access::WRITE_OK).is_err() {
        let advice = "join the group kvm: usermod -aG kvm $USER, and log in again";
        return Some(missing(format!("{} cannot be opened", kvm.display()), advice));
    }
    None
}

fn devices(config: &Config) -> Option<Readiness> {
    let host = &config.host;
    if rustix::fs::access(&host.ip, Access::EXEC_OK).is_err() {
        let reason = format!("there is no {}, which makes tap devices", host.ip.display());
        return Some(missing(reason, "install iproute2: apt-get install iproute2"));
    }
    if !host.tun.exists() {
        let reason = format!("there is no {}, which tap devices need", host.tun.display());
        return Some(missing(reason, "load its module: modprobe tun"));
    }
    if !may_administer(&host.process_status) {
        return Some(missing("there is no right to make tap devices", RIGHTS));
    }
    None
}

/// Whether a process, by its status of proc(5), may make network devices.
fn may_administer(status: &Path) -> bool {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << NET_ADMIN) != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn reason(config: &Config) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(look(config)) {
            Readiness::Missing { reason, .. } => reason,
            Readiness::Ready { found } => format!("ready: {found}"),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let here = |name: &str| directory.path().join(name);
        let mut config = Config { binary: Some(here("firecracker")), ..Config::default() };
        config.host.kvm = here("kvm");
        config.host.tun = here("tun");
        config.host.ip = here("ip");
        config.host.process_status = here("status");
        assert!(reason(&config).contains("no Firecracker at"), "{}", reason(&config));
        config.binary = Some("/bin/false".into());
        assert!(reason(&config).contains("kvm, which Firecracker needs"));
        std::fs::write(here("kvm"), "").unwrap();
        assert!(reason(&config).contains("makes tap devices"));
        config.host.ip = "/bin/true".into();
        assert!(reason(&config).contains("which tap devices need"));
        std::fs::write(here("tun"), "").unwrap();
        std::fs::write(here("status"), "Name:\tx\nCapEff:\t00000000a80425fb\n").unwrap();
        assert_eq!(reason(&config), "there is no right to make tap devices");
        let demanded = |taps| demand(&config, Path::new("/bin/false"), taps);
        let error = demanded(true).unwrap_err();
        assert_eq!((error.kind(), error.advice()), (ErrorKind::NotReady, Some(RIGHTS)));
        demanded(false).unwrap();
        std::fs::write(here("status"), "CapPrm:\t0\nCapEff:\t0000000000001000\n").unwrap();
        assert!(reason(&config).contains("--version does not work"));
        config.binary = Some("/bin/echo".into());
        assert!(reason(&config).contains("--version does not work"));
        let script = here("script");
        std::fs::write(&script, "#!/bin/sh\necho Firecracker v9").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        config.binary = Some(script);
        assert!(reason(&config).starts_with("ready: Firecracker v9 at /"));
    }
}
