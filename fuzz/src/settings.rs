// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What machines without QEMU's devices tell a guest, and what they hear of it:
//! command lines, metadata, records in the console's stream.

use bhojpur_abi::cmdline;
use bhojpur_abi::config::OwnedConfig;
use bhojpur_abi::control::{self, Exit, Level};
use bhojpur_abi::stream::{Framer, Splitter};

pub(crate) fn cmdline(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let mut config = OwnedConfig { args: vec![b"/app".to_vec()], ..OwnedConfig::default() };
    let applied = cmdline::apply(line, &mut config);
    if applied == Ok(false) {
        assert_eq!(config.args, [b"/app"], "nothing was said, but something changed");
        assert!(config.env.is_empty() && config.mounts.is_empty());
    }
    // The kernel reads what this makes, or refuses it: neither may panic.
    let _ = config.encode();
    let _ = cmdline::wants_serial_control(line);
}

pub(crate) fn cmdline_seeds() -> Vec<Vec<u8>> {
    vec![
        b"ip=10.0.0.2::10.0.0.1:255.255.255.0:web:eth0:off:9.9.9.9 bhojpur.control=serial".to_vec(),
        b"\"bhojpur.env=A=b c\" bhojpur.mount=ext4:/dev/vda:/data:ro bhojpur.mmds -- \"x y\""
            .to_vec(),
        b"console=ttyS0 pci=off virtio_mmio.device=4K@0xc0001000:5".to_vec(),
    ]
}

pub(crate) fn metadata(data: &[u8]) {
    let mut config = OwnedConfig::default();
    if kmetadata::document::apply(data, &mut config).is_ok() {
        let _ = config.encode();
    }
    if let Ok(Some(body)) = kmetadata::http::body(data) {
        assert!(body.len() < data.len(), "a body without a head");
        let _ = kmetadata::http::token(body);
    }
}

pub(crate) fn metadata_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"args":["a","\u00e9\ud83d\ude00"],"env":{"A":"b"},"cwd":"/","hostname":"h",
            "mounts":[{"kind":"ext4","source":"/dev/vda","target":"/data","read_only":true}]}"#
            .to_vec(),
        b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nContent-Length: 5\r\n\r\ntoken".to_vec(),
        b"HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\nno".to_vec(),
    ]
}

fn split(data: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut splitter, mut console, mut records) = (Splitter::default(), Vec::new(), Vec::new());
    let mut shown = |bytes: &[u8]| console.extend_from_slice(bytes);
    let mut said = |bytes: &[u8]| records.extend_from_slice(bytes);
    data.chunks(size).for_each(|piece| splitter.receive(piece, &mut shown, &mut said));
    splitter.finish(&mut shown, &mut said);
    (console, records)
}

pub(crate) fn stream(data: &[u8]) {
    let whole = split(data, data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(split(data, size), whole, "it depends on the cuts");
    }
    assert!(whole.0.len() + whole.1.len() <= data.len(), "more came out than went in");
}

pub(crate) fn stream_seeds() -> Vec<Vec<u8>> {
    let mut text = String::from("the program\n");
    let mut framer = Framer::new(&mut text, false);
    // Writing to a String cannot fail.
    let _ = control::log(&mut framer, 5, Level::Info, format_args!("one\nline \x1b"));
    let _ = control::exit(&mut framer, Exit::Status(3));
    text.push_str("\x1b[0m\x1b_other\x1b\\");
    vec![text.into_bytes()]
}
