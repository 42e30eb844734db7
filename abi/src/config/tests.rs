// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the configuration record; those of the encoder need `alloc`.

use super::*;
use std::vec::Vec;

/// A record with the right header around `fields`.
fn record(fields: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, value) in fields {
        body.extend(tag.to_le_bytes());
        body.extend([0, 0]);
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(*value);
    }
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend([0, 0]);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(crc32c::checksum(&body).to_le_bytes());
    out.extend([0; 4]);
    out.extend(body);
    out
}

fn refusal(fields: &[(u16, &[u8])]) -> Option<Error> {
    Config::parse(&record(fields)).err()
}

#[test]
fn defaults() {
    let bytes = record(&[]);
    let c = Config::parse(&bytes).unwrap();
    assert!(c.is_empty());
    assert_eq!((c.program(), c.cwd(), c.hostname()), (None, &b"/"[..], None));
    assert_eq!((c.network(), c.log_level()), (Network::Dhcp, Level::Warn));
    assert_eq!(c.mounts().count() + c.args().count() + c.env().count(), 0);
}

#[test]
fn unknown_fields() {
    assert_eq!(refusal(&[(0x7fff, b"x")]), Some(Error::UnknownField(0x7fff)));
    assert_eq!(refusal(&[(0xffff, b"x"), (tag::ARG, b"a")]), None);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = record(&[(tag::ARG, b"/app"), (tag::ENV, b"A=b"), (tag::CWD, b"/x")]);
    for len in 0..bytes.len() {
        assert_eq!(Config::parse(&bytes[..len]).err(), Some(Error::Truncated), "{len}");
    }
    let mut longer = bytes.clone();
    longer.extend([0xaa; 100]);
    assert_eq!(Config::parse(&longer).unwrap().len(), bytes.len());
}

#[test]
fn every_flipped_bit_of_header_length_and_body_is_refused() {
    let bytes = record(&[(tag::ARG, b"/app"), (tag::ENV, b"A=b")]);
    for at in (0..10).chain(12..20).chain(24..bytes.len()) {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(Config::parse(&bad).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn field_that_overruns_the_record_is_refused() {
    let mut bytes = record(&[(tag::ARG, b"/app")]);
    bytes[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32c::checksum(&bytes[HEADER_LEN..]).to_le_bytes();
    bytes[16..20].copy_from_slice(&crc);
    assert_eq!(Config::parse(&bytes).err(), Some(Error::Truncated));
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Config::parse(&bytes).err(), Some(Error::TooLong));
}

#[test]
fn malformed_values_are_refused() {
    let long = [b'a'; PATH_MAX];
    let cases: &[(u16, &[u8])] = &[
        (tag::PROGRAM, b""),
        (tag::PROGRAM, &long),
        (tag::ARG, b"a\0b"),
        (tag::ENV, b""),
        (tag::ENV, b"=x"),
        (tag::CWD, b"relative"),
        (tag::HOSTNAME, b"two words"),
        (tag::HOSTNAME, &long[..65]),
        (tag::HOSTNAME, b"\xff"),
        (tag::NETWORK, b"\x03"),
        (tag::NETWORK, b""),
        (tag::ADDRESS, b"\x21\x7f\0\0\x01"),
        (tag::ADDRESS, b"\x08\x7f\0\0"),
        (tag::GATEWAY, b"12345"),
        (tag::NAME_SERVER, b""),
        (tag::LIMIT_NOFILE, b"1234567"),
        (tag::LOG_LEVEL, b"\0"),
        (tag::LOG_LEVEL, b"\x01\x01"),
        (tag::PORT, b"\0\0\0"),
        (tag::PORT, b"\x50\0\x02"),
        (tag::PORT, b"\x50\0"),
        (tag::CPUS_USUAL, b"\x02"),
        (tag::OPTION, b"\xff"),
        (tag::MOUNT, b"\0\0"),
        (tag::MOUNT, b"\x02\0\x04\0ext4\x01\0x\x02\0/m"),
        (tag::MOUNT, b"\0\0\x04\0ext4\x01\0x\x01\0m"),
        (tag::MOUNT, b"\0\0\x04\0ext4\x01\0x\x02\0/m!"),
    ];
    for &(tag, value) in cases {
        assert_eq!(refusal(&[(tag, value)]), Some(Error::Value(tag)), "{value:?}");
    }
}

#[test]
fn once_means_once() {
    let twice: &[(u16, &[u8])] = &[(tag::CWD, b"/a"), (tag::CWD, b"/b")];
    assert_eq!(refusal(twice), Some(Error::Repeated(tag::CWD)));
}

#[test]
fn last_option_wins() {
    let bytes = record(&[(tag::OPTION, b"a=1"), (tag::OPTION, b"b"), (tag::OPTION, b"a=2=3")]);
    let c = Config::parse(&bytes).unwrap();
    assert_eq!((c.option("a"), c.option("b"), c.option("c")), (Some("2=3"), Some(""), None));
}

#[cfg(feature = "alloc")]
mod owned {
    use super::*;

    fn full() -> OwnedConfig {
        let mut config = OwnedConfig {
            program: Some(b"/bin/app".to_vec()),
            args: [&b"app"[..], b"", b"\xff non-utf8"].map(<[u8]>::to_vec).to_vec(),
            cwd: Some(b"/srv".to_vec()),
            hostname: Some("web-1".into()),
            mounts: [false, true]
                .map(|read_only| OwnedMount {
                    kind: "ext4".into(),
                    source: b"LABEL=data".to_vec(),
                    target: b"/data".to_vec(),
                    read_only,
                })
                .to_vec(),
            network: Some(Network::Static),
            addresses: Vec::from([
                Address { address: [10, 0, 2, 15].into(), prefix: 24 },
                Address { address: Ipv6Addr::LOCALHOST.into(), prefix: 128 },
            ]),
            gateways: Vec::from([[10, 0, 2, 2].into()]),
            name_servers: Vec::from([[10, 0, 2, 3].into(), Ipv6Addr::LOCALHOST.into()]),
            limit_nofile: Some(1 << 20),
            limit_stack: Some(8 << 20),
            options: Vec::from(["trace".into()]),
            memory_minimum: Some(10 << 20),
            log_level: Some(Level::Debug),
            ports: Vec::from([Port { number: 8080, udp: false }, Port { number: 53, udp: true }]),
            memory_usual: Some(256 << 20),
            cpus_usual: Some(2),
            ..OwnedConfig::default()
        };
        config.set_env("A", "1");
        config.set_env("AB", "2");
        config
    }

    #[test]
    fn round_trip() {
        for config in [full(), OwnedConfig::default()] {
            let bytes = config.encode().unwrap();
            assert_eq!(OwnedConfig::from(&Config::parse(&bytes).unwrap()), config);
        }
    }

    #[test]
    fn set_env_replaces_the_whole_name_only() {
        let mut config = full();
        config.set_env("A", "x=y");
        assert_eq!(config.env, [&b"A=x=y"[..], b"AB=2"].map(<[u8]>::to_vec));
    }

    #[test]
    fn encoder_refuses_what_the_reader_refuses() {
        let nul = OwnedConfig { args: Vec::from([b"a\0".to_vec()]), ..Default::default() };
        assert_eq!(nul.encode(), Err(Error::Value(tag::ARG)));
        let big = OwnedConfig { args: Vec::from([[b'x'; MAX_LEN].to_vec()]), ..Default::default() };
        assert_eq!(big.encode(), Err(Error::TooLong));
    }
}
