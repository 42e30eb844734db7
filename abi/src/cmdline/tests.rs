// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the command line's words.

use super::{Autoconfiguration, NetworkWord, arguments, option, wants_serial_control, words};
use std::vec::Vec;

fn split(line: &str) -> Vec<(&str, Option<&str>)> {
    words(line).map(|word| (word.name, word.value)).collect()
}

#[test]
fn words_are_split_as_in_linux() {
    let line = " quiet\ta=b=c  name=\"two words\" \"whole=in quotes\" empty= =x end";
    let expected = [
        ("quiet", None),
        ("a", Some("b=c")),
        ("name", Some("two words")),
        ("whole", Some("in quotes")),
        ("empty", Some("")),
        ("", Some("x")),
        ("end", None),
    ];
    assert_eq!(split(line), expected);
    assert_eq!(split(""), []);
    assert_eq!(split("open=\"to the end"), [("open", Some("to the end"))]);
}

#[test]
fn what_follows_two_dashes_is_the_programs() {
    let line = "a=b -- \"c d\" bhojpur.control=serial -- e";
    assert_eq!(split(line), [("a", Some("b"))]);
    let given: Vec<_> = arguments(line).unwrap().collect();
    assert_eq!(given, ["c d", "bhojpur.control=serial", "--", "e"]);
    assert!(!wants_serial_control(line));
    assert!(arguments("a=b --c").is_none());
    assert_eq!(arguments("--").unwrap().count(), 0);
}

#[test]
fn the_last_word_counts() {
    assert_eq!(option("x=1 x=2 y", "x"), Some("2"));
    assert_eq!(option("x=1 x=2 y", "y"), Some(""));
    assert_eq!(option("x=1 x=2 y", "z"), None);
    assert!(wants_serial_control("console=ttyS0 bhojpur.control=serial"));
    assert!(!wants_serial_control("bhojpur.control=none"));
}

#[test]
fn static_addresses() {
    let word = "172.16.0.2::172.16.0.1:255.255.255.252:web:eth0:off:1.1.1.1:8.8.8.8";
    let parsed = NetworkWord::parse(word).unwrap();
    assert_eq!(parsed.address, Some([172, 16, 0, 2].into()));
    assert_eq!((parsed.prefix, parsed.gateway), (30, Some([172, 16, 0, 1].into())));
    assert_eq!((parsed.hostname, parsed.device), (Some("web"), Some("eth0")));
    assert_eq!(parsed.autoconfiguration, Autoconfiguration::Off);
    assert_eq!(parsed.name_servers, [Some([1, 1, 1, 1].into()), Some([8, 8, 8, 8].into())]);
    let prefix = |value| NetworkWord::parse(value).unwrap().prefix;
    assert_eq!((prefix("10.0.0.1"), prefix("172.16.0.2"), prefix("192.168.1.2")), (8, 16, 24));
    assert_eq!(prefix("10.0.0.1:::0.0.0.0"), 0);
    assert_eq!(prefix("10.0.0.1:::255.255.255.255"), 32);
}

#[test]
fn addresses_from_elsewhere() {
    let way = |value| NetworkWord::parse(value).map(|parsed| parsed.autoconfiguration);
    assert_eq!(way("dhcp"), Ok(Autoconfiguration::Dhcp));
    assert_eq!(way("off"), Ok(Autoconfiguration::Off));
    assert_eq!(way(""), Ok(Autoconfiguration::Dhcp));
    assert_eq!(way(":::::eth0:dhcp"), Ok(Autoconfiguration::Dhcp));
    assert_eq!(way("10.0.0.1::::::"), Ok(Autoconfiguration::Off));
}

#[test]
fn malformed_networks_are_refused() {
    for bad in [
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1:x",
        "10.0.0.1::10.0.0.300",
        "10.0.0.1:::255.0.255.0",
        "10.0.0.1::::::maybe",
        "10.0.0.1:::::::nine",
        "10.0.0.1:::::::::1.2.3.4:",
        "fe80::1",
    ] {
        assert!(NetworkWord::parse(bad).is_err(), "{bad}");
    }
}

#[cfg(feature = "alloc")]
mod applied {
    use crate::cmdline::{apply, is_for_us};
    use crate::config::{Network, OwnedConfig};
    use crate::control::Level;
    use std::string::ToString;
    use std::vec::Vec;

    fn base() -> OwnedConfig {
        OwnedConfig {
            args: Vec::from([b"/app/web".to_vec(), b"old".to_vec()]),
            env: Vec::from([b"MODE=built".to_vec(), b"PATH=/bin".to_vec()]),
            ..OwnedConfig::default()
        }
    }

    #[test]
    fn a_line_without_our_words_changes_nothing() {
        let mut config = base();
        let line = "console=ttyS0 reboot=k panic=1 pci=off virtio_mmio.device=4K@0xc0001000:5";
        assert!(!is_for_us(line));
        assert_eq!(apply(line, &mut config), Ok(false));
        assert_eq!(config, base());
    }

    #[test]
    fn every_word_has_its_effect() {
        let mut config = base();
        let line = "ip=10.0.0.2::10.0.0.1:255.255.255.0:web::off:9.9.9.9 bhojpur.env=MODE=run \
                    \"bhojpur.env=TEXT=a b=c\" bhojpur.log=debug bhojpur.cwd=/srv \
                    bhojpur.mount=ext4:LABEL=a:b:/data:ro bhojpur.mount=auto:/dev/vdb:/more \
                    bhojpur.option=terminal=24x80 bhojpur.control=serial bhojpur.mmds \
                    bhojpur.mmds=169.254.170.2 -- new \"two words\"";
        assert!(is_for_us(line) && is_for_us("--") && is_for_us("ip=off"));
        assert_eq!(apply(line, &mut config), Ok(true));
        assert_eq!(config.args, [&b"/app/web"[..], b"new", b"two words"]);
        assert_eq!(config.env, [&b"MODE=run"[..], b"PATH=/bin", b"TEXT=a b=c"]);
        assert_eq!(config.network, Some(Network::Static));
        assert_eq!(config.addresses[0].prefix, 24);
        assert_eq!(config.gateways, [core::net::IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(config.name_servers, [core::net::IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(config.hostname.as_deref(), Some("web"));
        assert_eq!(config.log_level, Some(Level::Debug));
        assert_eq!(config.cwd.as_deref(), Some(&b"/srv"[..]));
        assert_eq!(config.options, ["terminal=24x80"]);
        let mounts: Vec<_> = config
            .mounts
            .iter()
            .map(|m| (m.kind.as_str(), &m.source[..], &m.target[..], m.read_only))
            .collect();
        let expected = [
            ("ext4", &b"LABEL=a:b"[..], &b"/data"[..], true),
            ("auto", b"/dev/vdb", b"/more", false),
        ];
        assert_eq!(mounts, expected);
        assert!(config.encode().is_ok());
    }

    #[test]
    fn a_word_of_ours_that_is_not_understood_is_an_error() {
        for bad in [
            "bhojpur.",
            "bhojpur.mout=ext4:/dev/vda:/x",
            "bhojpur.env",
            "bhojpur.env=NAME",
            "bhojpur.env==x",
            "bhojpur.cwd=srv",
            "bhojpur.log=loud",
            "bhojpur.control=carrier-pigeon",
            "bhojpur.mmds=here",
            "bhojpur.mount=ext4:/dev/vda",
            "bhojpur.mount=ext4:/dev/vda:data",
            "bhojpur.mount=:/dev/vda:/data",
            "ip=10.0.0.2:::::eth1:off",
            "ip=10.0.0",
        ] {
            let error = apply(bad, &mut base()).expect_err(bad).to_string();
            assert!(error.starts_with(bad.split('=').next().unwrap()), "{error}");
        }
    }
}
