// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files that programs expect on every Linux system.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bhojpur_formats::erofs::{Attributes, Data, Error, Tree};

/// Where Linux distributions and macOS keep the certificates of authorities.
const CERTIFICATE_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where hosts keep time zones.
const ZONE_DIRECTORIES: &[&str] = &["/usr/share/zoneinfo", "/var/db/timezone/zoneinfo"];

/// Where the guest's programs look for them.
const GUEST_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const GUEST_ZONES: &str = "/usr/share/zoneinfo";

/// Which of the large files a program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The certificates of authorities.
    pub certificates: bool,
    /// The time zones.
    pub time_zones: bool,
}

impl Needs {
    /// For a program of which nothing is known.
    pub const ALL: Self = Self { certificates: true, time_zones: true };
}

/// Something that the host could not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No certificates: TLS clients will refuse every server.
    Certificates,
    /// No time zones: only UTC is known.
    TimeZones,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificates => {
                "this host has no CA certificates: TLS clients will trust nobody (install ca-certificates)"
            }
            Self::TimeZones => "this host has no time zones: only UTC will be known (install tzdata)",
        })
    }
}

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
const OS_RELEASE: &str = "NAME=\"Bhojpur Kernel\"\nID=bhojpur\nPRETTY_NAME=\"Bhojpur Kernel\"\n";
const PROTOCOLS: &str = "ip\t0\tIP\nicmp\t1\tICMP\ntcp\t6\tTCP\nudp\t17\tUDP\nipv6\t41\tIPv6\nipv6-icmp\t58\tIPv6-ICMP\n";
const SERVICES: &str = "\
ftp\t21/tcp\nssh\t22/tcp\ntelnet\t23/tcp\nsmtp\t25/tcp\tmail\ndomain\t53/tcp\ndomain\t53/udp\nhttp\t80/tcp\twww\n\
pop3\t110/tcp\tpop-3\nntp\t123/udp\nimap2\t143/tcp\timap\nhttps\t443/tcp\nhttps\t443/udp\nsubmission\t587/tcp\n\
imaps\t993/tcp\npop3s\t995/tcp\n";

/// UTC in the format of RFC 8536, version 2: no transition, one type.
const UTC: &[u8] =
    b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\
\0\0\0\0\0\0UTC\0\
TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\
\0\0\0\0\0\0UTC\0\nUTC0\n";

/// Fills the tree with them; what the user includes later wins. The kernel makes
/// `/etc/resolv.conf`, of what it learns about the network, where the user has included none.
pub fn populate(tree: &mut Tree, needs: Needs) -> Result<Vec<Missing>, Error> {
    for (path, mode) in
        [("/proc", 0o555), ("/sys", 0o555), ("/dev", 0o755), ("/root", 0o700), ("/run", 0o755)]
    {
        tree.add_directory(path, Attributes::with_permissions(mode))?;
    }
    for path in ["/tmp", "/var/tmp", "/dev/shm"] {
        tree.add_directory(path, Attributes::with_permissions(0o1777))?;
    }
    for (path, content) in [
        ("/etc/hosts", HOSTS),
        ("/etc/nsswitch.conf", NSSWITCH),
        ("/etc/passwd", PASSWD),
        ("/etc/group", GROUP),
        ("/etc/os-release", OS_RELEASE),
        ("/etc/protocols", PROTOCOLS),
        ("/etc/services", SERVICES),
        ("/etc/hostname", "bhojpur\n"),
    ] {
        tree.add_bytes(path, content.into(), Attributes::FILE)?;
    }
    tree.add_bytes("/etc/localtime", UTC.to_vec(), Attributes::FILE)?;
    let mut missing = Vec::new();
    if needs.certificates && !copy_first(tree, CERTIFICATE_BUNDLES, GUEST_CERTIFICATES)? {
        missing.push(Missing::Certificates);
    }
    if needs.time_zones && !time_zones(tree)? {
        missing.push(Missing::TimeZones);
    }
    Ok(missing)
}

fn copy_first(tree: &mut Tree, candidates: &[&str], guest: &str) -> Result<bool, Error> {
    let Some(found) = candidates.iter().map(Path::new).find(|path| path.is_file()) else {
        return Ok(false);
    };
    tree.add_file(guest, Data::host(found)?, Attributes::FILE)?;
    Ok(true)
}

/// Copies the zones. `posix` and `right` repeat them all (with and without leap seconds).
fn time_zones(tree: &mut Tree) -> Result<bool, Error> {
    let Some(root) =
        ZONE_DIRECTORIES.iter().map(Path::new).find(|path| path.join("Etc/UTC").is_file())
    else {
        return Ok(false);
    };
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let host = root.join(&directory);
        let read = |source| Error::Read { path: host.clone(), source };
        for entry in std::fs::read_dir(&host).map_err(read)? {
            let entry = entry.map_err(read)?;
            let relative = directory.join(entry.file_name());
            if relative == Path::new("posix") || relative == Path::new("right") {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                pending.push(relative);
            } else if is_zone(&path)
                || relative.extension().is_some_and(|extension| extension == "tab")
            {
                // Links may lead out of the directory (localtime): the content counts.
                let from = std::fs::canonicalize(&path).map_err(read)?;
                let guest = Path::new(GUEST_ZONES).join(relative);
                tree.add_file(guest.as_os_str().as_bytes(), Data::host(from)?, Attributes::FILE)?;
            }
        }
    }
    Ok(true)
}

fn is_zone(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && &magic == b"TZif"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_program_gets_a_small_tree() {
        let mut tree = Tree::default();
        let missing =
            populate(&mut tree, Needs { certificates: false, time_zones: false }).unwrap();
        assert!(missing.is_empty());
        assert!(!tree.contains(GUEST_CERTIFICATES) && !tree.contains(GUEST_ZONES));
        for path in ["/tmp", "/proc", "/sys", "/dev", "/etc/hosts", "/etc/passwd", "/etc/localtime"]
        {
            assert!(tree.contains(path), "{path}");
        }
        assert!(!tree.contains("/etc/resolv.conf"), "the kernel would take it for the user's");
    }

    #[test]
    fn utc_is_a_whole_zone_file() {
        // RFC 8536 section 3.1: 44 bytes of header, then the data the counts tell of, twice.
        let block = 44 + 6 + 4;
        assert_eq!(UTC.len(), 2 * block + b"\nUTC0\n".len());
        assert_eq!(&UTC[block..block + 5], b"TZif2");
    }

    #[test]
    fn zones_stand_once() {
        let mut tree = Tree::default();
        if time_zones(&mut tree).unwrap() {
            assert!(tree.contains("/usr/share/zoneinfo/Europe/Berlin"));
            assert!(
                !tree.contains("/usr/share/zoneinfo/posix")
                    && !tree.contains("/usr/share/zoneinfo/right")
            );
        }
    }
}
