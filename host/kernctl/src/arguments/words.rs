// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What single words of the command line mean.

use std::time::Duration;

use bhojpur_api::{ExposedPort, Mount, Network, Port, Probe, Protocol, RestartPolicy};

/// What one `-p` leads into an instance.
pub(crate) type Ports = Vec<Port>;

/// As [`port`], where HOST and GUEST may be ranges `FIRST-LAST` of one length.
pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let wrong = || format!("{text:?} is not a port; write a range as 8000-8005:8000-8005");
    let (numbers, protocol) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (front, guest) = numbers.rsplit_once(':').unwrap_or(("", numbers));
    let (address, host) = match front.rsplit_once(':') {
        Some((address, host)) => (format!("{address}:"), host),
        None => (String::new(), front),
    };
    if !guest.contains('-') && !host.contains('-') {
        return Ok(vec![port(text)?]);
    }
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (0 < first && first <= last).then_some(first..=last)
    };
    let guests = range(guest).ok_or_else(wrong)?;
    if numbers.starts_with(':') {
        return Err(wrong());
    }
    if host.is_empty() {
        let front = if front.is_empty() { String::new() } else { format!("{front}:") };
        return guests.map(|guest| port(&format!("{front}{guest}{protocol}"))).collect();
    }
    let hosts = range(host).ok_or_else(wrong)?;
    if hosts.len() != guests.len() {
        return Err(format!("{text:?} has two ranges that are not of one length"));
    }
    let pairs = hosts.zip(guests);
    pairs.map(|(host, guest)| port(&format!("{address}{host}:{guest}{protocol}"))).collect()
}

/// `[[ADDRESS:]HOST:]GUEST[/udp]`; without a port of the host, or with 0, a free one.
pub(crate) fn port(text: &str) -> Result<Port, String> {
    let syntax = || {
        format!(
            "{text:?} is not a port; write HOST:GUEST, for example 8080:80 or 127.0.0.1:5353:53/udp"
        )
    };
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(syntax()),
    };
    let (rest, guest) = match ports.rsplit_once(':') {
        Some((rest, guest)) => (Some(rest), guest),
        None => (None, ports),
    };
    let guest: u16 = guest.parse().ok().filter(|&port| port != 0).ok_or_else(syntax)?;
    let (address, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None => (None, rest),
        },
    };
    let host = match (host, address) {
        ("", None) if rest.is_some() => return Err(syntax()),
        ("", _) => 0,
        (host, _) => host.parse().map_err(|_| syntax())?,
    };
    let host_address = match address {
        None => "127.0.0.1".to_owned(),
        Some(address) => {
            let address =
                address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            let address = if address == "localhost" { "127.0.0.1" } else { address };
            address.parse::<std::net::IpAddr>().map_err(|_| syntax())?.to_string()
        }
    };
    Ok(Port { host_address, host, guest, protocol })
}

/// `PORT[/udp]`.
pub(crate) fn exposed(text: &str) -> Result<ExposedPort, String> {
    let wrong = || format!("{text:?} is not a port; write for example 8080 or 53/udp");
    let (number, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((number, "tcp")) => (number, Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let guest = number.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
    Ok(ExposedPort { guest, protocol })
}

/// Whether something says at its end that it is only read, and what stands before that.
fn read_only(text: &str) -> (&str, bool) {
    match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    }
}

/// `/DIRECTORY[:ro]`: a directory of the guest, and whether it is only read.
pub(crate) fn place(text: &str) -> Result<(String, bool), String> {
    let (place, read_only) = read_only(text);
    if !place.starts_with('/') || place.contains(':') {
        return Err(format!(
            "{text:?} is not a directory of the guest; write /DIRECTORY or /DIRECTORY:ro"
        ));
    }
    Ok((place.to_owned(), read_only))
}

/// `VOLUME:/DIRECTORY[:ro]`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let (rest, read_only) = read_only(text);
    let (volume, mount_point) = rest
        .split_once(':')
        .ok_or_else(|| format!("{text:?} names no place in the guest; write VOLUME:/DIRECTORY"))?;
    if volume.starts_with(['/', '.', '~']) {
        return Err(format!(
            "{volume:?} is a directory of this machine, not a volume; make a volume of it first: \
             kernctl volume create NAME --from {volume}"
        ));
    }
    if volume.is_empty() || !mount_point.starts_with('/') || mount_point.contains(':') {
        return Err(format!(
            "{text:?} is not a volume; write VOLUME:/DIRECTORY or VOLUME:/DIRECTORY:ro"
        ));
    }
    Ok(Mount { volume: volume.to_owned(), mount_point: mount_point.to_owned(), read_only })
}

/// A number of bytes with a unit: `512m`, `1G`, `1.5GiB`; without a unit mebibytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let syntax = || format!("{text:?} is not a size; write for example 256M or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor: u64 = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.is_empty() => 1 << 20,
        "" if unit == "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(syntax()),
    };
    let value: f64 = number.parse().map_err(|_| syntax())?;
    let bytes = value * factor as f64;
    if !(1.0..=9e18).contains(&bytes) {
        return Err(format!("{text:?} is no size that a machine can have"));
    }
    Ok(bytes as u64)
}

/// A size in whole mebibytes.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < 1 << 20 => Err(format!("{text:?} is less than one mebibyte")),
        bytes => Ok(bytes.div_ceil(1 << 20)),
    }
}

/// How many processors; docker's shares of one are not to be had.
pub(crate) fn processors(text: &str) -> Result<u32, String> {
    let whole = text.strip_suffix(".0").unwrap_or(text).parse().ok();
    whole.filter(|count| (1..=255).contains(count)).ok_or_else(|| {
        format!("{text:?} is not a number of processors; a machine has whole ones, 1 to 255")
    })
}

/// `NAME=VALUE`, or `NAME` for the value that it has here.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    if name.is_empty() {
        return Err(format!("{text:?} has no name; write NAME=VALUE"));
    }
    if text.contains('\0') {
        return Err("a variable cannot contain NUL".to_owned());
    }
    Ok(text.to_owned())
}

/// `NAME[=VALUE]`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(format!("{text:?} has no name; write NAME=VALUE"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `no`, `on-failure[:N]`, `always`, `unless-stopped`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy, String> {
    match text.split_once(':') {
        None => match text {
            "no" => Ok(RestartPolicy::No),
            "on-failure" => Ok(RestartPolicy::OnFailure { max_retries: 0 }),
            // What a person stopped stays stopped with us anyway.
            "always" | "unless-stopped" => Ok(RestartPolicy::Always),
            _ => Err(format!("{text:?} is not a policy; there are no, on-failure[:N] and always")),
        },
        Some(("on-failure", count)) => count
            .parse()
            .map(|max_retries| RestartPolicy::OnFailure { max_retries })
            .map_err(|_| format!("{count:?} is not a number of restarts")),
        Some(_) => Err(format!("{text:?} is not a policy; only on-failure takes a number")),
    }
}

/// `PORT[/PATH]`.
pub(crate) fn http_probe(text: &str) -> Result<Probe, String> {
    let (port, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    Ok(Probe::Http { port: guest_port(port)?, path: path.to_owned() })
}

/// `PORT`.
pub(crate) fn tcp_probe(text: &str) -> Result<Probe, String> {
    Ok(Probe::Tcp { port: guest_port(text)? })
}

fn guest_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| format!("{text:?} is not a port of the guest"))
}

/// `500ms`, `10s`, `1m30s`, `2h`; without a unit seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let syntax = || format!("{text:?} is not a time; write for example 10s, 500ms or 1m30s");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(syntax)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(syntax()),
        };
        total += number.parse::<f64>().map_err(|_| syntax())? * factor;
        rest = after;
    }
    if text.is_empty() {
        return Err(syntax());
    }
    Duration::try_from_secs_f64(total).map_err(|_| syntax())
}

/// `default`, `none`, `tap:DEVICE`, `bridge:BRIDGE`.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    match text.split_once(':') {
        None if text == "default" => Ok(Network::Default),
        None if text == "none" => Ok(Network::None),
        Some(("tap", device)) if !device.is_empty() => {
            Ok(Network::Tap { device: device.to_owned() })
        }
        Some(("bridge", bridge)) if !bridge.is_empty() => {
            Ok(Network::Bridge { bridge: bridge.to_owned() })
        }
        _ => Err(format!(
            "{text:?} is not a network; there are default, none, tap:DEVICE and bridge:BRIDGE"
        )),
    }
}

/// Divides a line into words as a shell does: blanks, quotes, backslashes, nothing else.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(format!("a {c} is not closed in {line:?}")),
                        Some(inner) if inner == c => break,
                        Some('\\') if c == '"' => word.extend(characters.next()),
                        Some(inner) => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports_are_all_their_ports() {
        let numbers = |text| {
            let ports = ports(text)?;
            Ok::<_, String>(ports.iter().map(|port| (port.host, port.guest)).collect::<Vec<_>>())
        };
        for (text, wanted) in [
            ("8080:80", &[(8080, 80)][..]),
            ("8000-8002:90-92/udp", &[(8000, 90), (8001, 91), (8002, 92)]),
            ("[::1]:7-8:7-8", &[(7, 7), (8, 8)]),
            ("80-81", &[(0, 80), (0, 81)]),
            ("0.0.0.0::80-81", &[(0, 80), (0, 81)]),
            ("65535-65535:1", &[(65535, 1)]),
        ] {
            assert_eq!(numbers(text).unwrap(), wanted, "{text}");
        }
        let udp = ports("1-2:1-2/udp").unwrap();
        assert!(udp.iter().all(|port| port.protocol == Protocol::Udp));
        assert_eq!(ports("0.0.0.0::80-81").unwrap()[1].host_address, "0.0.0.0");
        for text in ["8-9:80", "80:8-9", "9-8:9-8", "0-1:0-1", "-:1", "1-2-3", "1-2:1-2/x", ":8-9"]
        {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_those_of_docker() {
        let p = |address: &str, host, guest, protocol| Port {
            host_address: address.into(),
            host,
            guest,
            protocol,
        };
        for (text, expected) in [
            ("80", p("127.0.0.1", 0, 80, Protocol::Tcp)),
            ("8080:80", p("127.0.0.1", 8080, 80, Protocol::Tcp)),
            ("0.0.0.0:53:53/udp", p("0.0.0.0", 53, 53, Protocol::Udp)),
            ("[::1]:1:2/tcp", p("::1", 1, 2, Protocol::Tcp)),
            ("localhost::2", p("127.0.0.1", 0, 2, Protocol::Tcp)),
        ] {
            assert_eq!(port(text).unwrap(), expected, "{text}");
        }
        for text in
            ["", "x", "80:", ":80", "80:0", "99999:1", "1:2/sctp", "host:1:2", "1:2:3", "-1:2"]
        {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_name_volumes() {
        let expected = Mount { volume: "data".into(), mount_point: "/d".into(), read_only: true };
        assert_eq!(mount("data:/d:ro").unwrap(), expected);
        assert!(!mount("data:/d:rw").unwrap().read_only);
        assert!(mount("./dir:/d").unwrap_err().contains("volume create"));
        for text in ["data", "data:d", ":/d", "data:/d:rx", ""] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, mebibytes) in
            [("256", 256), ("256m", 256), ("1G", 1024), ("1.5GiB", 1536), ("2048kb", 2)]
        {
            assert_eq!(memory(text).unwrap(), mebibytes, "{text}");
        }
        assert_eq!(size("4096b").unwrap(), 4096);
        for text in ["", "m", "1x", "-1", "0", "1..2", "99999999999T", "inf", "nan"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(memory("1k").is_err());
    }

    #[test]
    fn times_and_policies_and_networks() {
        assert_eq!(time("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(
            (time("5").unwrap(), time("500ms").unwrap()),
            (Duration::from_secs(5), Duration::from_millis(500))
        );
        for text in ["", "s", "1", "1d", "1s2", "-1s"].into_iter().filter(|text| *text != "1") {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(restart("on-failure:3").unwrap(), RestartPolicy::OnFailure { max_retries: 3 });
        assert!(
            restart("always:1").is_err()
                && restart("on-failure:x").is_err()
                && restart("never").is_err()
        );
        assert_eq!(network("tap:t0").unwrap(), Network::Tap { device: "t0".into() });
        assert!(network("tap:").is_err() && network("host").is_err());
        assert_eq!(http_probe("80").unwrap(), Probe::Http { port: 80, path: "/".into() });
        assert_eq!(http_probe("80/a/b").unwrap(), Probe::Http { port: 80, path: "/a/b".into() });
        assert!(tcp_probe("0").is_err());
    }

    #[test]
    fn lines_are_divided_as_shells_do() {
        assert_eq!(
            split(r#" a 'b c' "d \" e" f\ g '' "#).unwrap(),
            ["a", "b c", "d \" e", "f g", ""]
        );
        assert!(split("").unwrap().is_empty() && split("'a").is_err());
    }
}
