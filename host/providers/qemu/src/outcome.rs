// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ended, from what was left of it.

use std::net::IpAddr;

use bhojpur_monitor::{Event, Listener, Reason};
use bhojpur_provider::Ended;

/// What the kernel said that matters after the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// The program's status or the kernel's panic.
    pub(crate) ended: Option<Ended>,
    /// Why the program ended, when that is more than its status.
    pub(crate) reason: Option<String>,
    /// The address that the guest was given by its network.
    pub(crate) address: Option<IpAddr>,
    /// The last lines, for a report.
    pub(crate) tail: Vec<String>,
}

impl LastWords {
    /// Reads the end of a control channel.
    pub(crate) fn read(control: &[u8]) -> Self {
        let mut listener = Listener::default();
        let mut words = Self::default();
        let mut reason = Reason::default();
        let mut hear = |event: Event| match event {
            Event::Exit(exit) => {
                words.ended = Some(Ended::Exited { code: exit.code() });
                words.reason = std::mem::take(&mut reason).of(exit);
            }
            Event::Fatal(line) => reason.hear(line),
            Event::Panic { cpu, message, .. } => {
                let message = format!("on CPU {cpu}: {message}");
                words.ended = Some(Ended::Panicked { message });
            }
            Event::Log { text, .. } => {
                if let Some(address) = address(&text) {
                    words.address = Some(address);
                }
            }
            _ => {}
        };
        listener.receive(control, &mut hear);
        listener.finish(&mut hear);
        words.tail = listener.tail().map(str::to_owned).collect();
        words
    }

    /// How it ended. `killed`: by us; `messages`: what QEMU said.
    pub(crate) fn outcome(self, killed: bool, messages: &str) -> Ended {
        if let Some(ended) = self.ended {
            return ended;
        }
        // QEMU tells of the signals that it catches: SIGTERM, SIGINT and SIGHUP.
        if killed || messages.contains("terminating on signal") {
            return Ended::Killed;
        }
        let mut message = match messages {
            "" => "QEMU ended without a word; the guest may have been reset, or QEMU killed".into(),
            messages => format!("QEMU said: {messages}"),
        };
        if !self.tail.is_empty() {
            let lines = self.tail.join("\n  ");
            message.push_str(&format!("\nthe last lines of the kernel's log:\n  {lines}"));
        }
        Ended::Lost { message }
    }
}

/// From the line that the kernel's network says when it is up: `address 10.0.0.7/24`.
fn address(text: &str) -> Option<IpAddr> {
    let (address, prefix) = text.strip_prefix("address ")?.split_once('/')?;
    prefix.parse::<u8>().ok()?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_counts_most() {
        let exited = |text: &[u8]| LastWords::read(text).outcome(true, "terminating on signal 15");
        assert_eq!(exited(b"@boot 1 kernel\n@exit 143 signal 15\n"), Ended::Exited { code: 143 });
        let refused = LastWords::read(b"@fatal /data: no such disk\n@exit 127\n");
        assert_eq!(refused.reason.as_deref(), Some("/data: no such disk"));
        let panic = exited(b"@panic 1 out of cheese\n@frame 10\n@panic-end\n");
        assert_eq!(panic, Ended::Panicked { message: "on CPU 1: out of cheese".into() });
        assert!(matches!(exited(b"@panic 1 cut sho"), Ended::Panicked { .. }));
    }

    #[test]
    fn without_it_the_end_came_from_outside_or_is_not_known() {
        let boot = b"@boot 1 kernel\n@log 5 info address 192.168.7.9/24\n";
        let words = LastWords::read(boot);
        assert_eq!(words.address, Some("192.168.7.9".parse().unwrap()));
        assert_eq!(words.outcome(true, ""), Ended::Killed);
        let said = "qemu-system-x86_64: terminating on signal 15 from pid 1 (init)";
        assert_eq!(LastWords::read(boot).outcome(false, said), Ended::Killed);
        let Ended::Lost { message } = LastWords::read(boot).outcome(false, "no room") else {
            panic!("it is lost");
        };
        assert!(message.contains("no room") && message.contains("192.168.7.9"), "{message}");
        assert!(matches!(LastWords::read(b"").outcome(false, ""), Ended::Lost { .. }));
    }

    #[test]
    fn only_the_networks_own_line_tells_an_address() {
        for text in ["address", "address x/24", "address 1.2.3.4", "the address 1.2.3.4/24"] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
