// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options of tcp(7).

use super::state::{Context, State, Tcb};
use crate::options::{OptionValue, int};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use kio::{Errno, Result};

const CONGESTION: &[u8] = b"cubic";

/// Options of one TCP socket; a connection inherits those of its listener.
#[derive(Clone, Debug)]
pub(super) struct TcpOptions {
    pub(super) no_delay: bool,
    pub(super) cork: bool,
    pub(super) max_segment: usize,
    pub(super) keep_idle: Duration,
    pub(super) keep_interval: Duration,
    pub(super) keep_count: u32,
    pub(super) syn_retries: u32,
    pub(super) linger2: i32,
    /// Timeouts that pass until a connection without data is handed over.
    pub(super) defer_accept: u32,
    pub(super) quick_ack: bool,
    pub(super) user_timeout: Option<Duration>,
    pub(super) fast_open: i32,
    pub(super) not_sent_low_water: u32,
    pub(super) low_water: usize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            no_delay: false,
            cork: false,
            max_segment: 0,
            keep_idle: Duration::from_secs(7200),
            keep_interval: Duration::from_secs(75),
            keep_count: 9,
            syn_retries: 6,
            linger2: 60,
            defer_accept: 0,
            quick_ack: false,
            user_timeout: None,
            fast_open: 0,
            not_sent_low_water: 0,
            low_water: 1,
        }
    }
}

impl TcpOptions {
    /// How long FIN-WAIT-2 lasts without a reader.
    pub(super) fn linger2(&self) -> Duration {
        Duration::from_secs(self.linger2.clamp(1, 120) as u64)
    }
}

fn between(value: i32, low: i32, high: i32) -> Result<i32> {
    if (low..=high).contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

/// The first timeout and the longest one, in seconds.
const TIMEOUTS: (i32, i32) = (1, 120);

/// How many timeouts it takes until `seconds` have passed, as secs_to_retrans
/// of Linux.
fn timeouts_in(seconds: i32) -> u32 {
    (0..255).find(|n| seconds_of(*n) >= seconds).unwrap_or(255)
}

/// The seconds after so many timeouts.
fn seconds_of(timeouts: u32) -> i32 {
    (0..timeouts).map(|n| (TIMEOUTS.0 << n.min(20)).min(TIMEOUTS.1)).sum()
}

impl Tcb {
    /// setsockopt(2) at IPPROTO_TCP.
    pub(super) fn set_tcp_option(
        &mut self,
        context: &Context<'_>,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        if name == 13 {
            // Any name of an algorithm that Linux has by default.
            let name = value.split(|b| *b == 0).next().unwrap_or(&[]);
            return if matches!(name, b"cubic" | b"reno") { Ok(()) } else { Err(Errno::ENOENT) };
        }
        let v = int(value)?;
        let seconds = |v: i32| between(v, 1, 32_767).map(|v| Duration::from_secs(v as u64));
        match name {
            1 => {
                self.tcp.no_delay = v != 0;
                if self.tcp.no_delay {
                    self.output(context);
                }
            }
            2 => self.tcp.max_segment = if v == 0 { 0 } else { between(v, 88, 32_767)? as usize },
            3 => {
                self.tcp.cork = v != 0;
                if !self.tcp.cork {
                    self.deadlines.cork = None;
                    self.output(context);
                }
            }
            4 => {
                self.tcp.keep_idle = seconds(v)?;
                self.set_keepalive(context.now);
                self.schedule(context);
            }
            5 => self.tcp.keep_interval = seconds(v)?,
            6 => self.tcp.keep_count = between(v, 1, 127)? as u32,
            7 => self.tcp.syn_retries = between(v, 1, 127)? as u32,
            8 => self.tcp.linger2 = v,
            9 => self.tcp.defer_accept = timeouts_in(v),
            10 => return Ok(()),
            12 => {
                self.tcp.quick_ack = v != 0;
                if v != 0 && self.deadlines.delayed_ack.is_some() {
                    self.send_ack(context);
                }
            }
            18 => {
                self.tcp.user_timeout = match between(v, 0, i32::MAX)? {
                    0 => None,
                    ms => Some(Duration::from_millis(ms as u64)),
                };
            }
            23 => self.tcp.fast_open = v,
            25 => self.tcp.not_sent_low_water = v as u32,
            16 | 17 | 24 | 30 | 36 | 37 => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) at IPPROTO_TCP.
    pub(super) fn tcp_option(&self, context: &Context<'_>, name: i32) -> Result<OptionValue> {
        let t = &self.tcp;
        Ok(OptionValue::Int(match name {
            1 => t.no_delay.into(),
            2 => self.send.mss as i32,
            3 => t.cork.into(),
            4 => t.keep_idle.as_secs() as i32,
            5 => t.keep_interval.as_secs() as i32,
            6 => t.keep_count as i32,
            7 => t.syn_retries as i32,
            8 => t.linger2,
            9 => seconds_of(t.defer_accept),
            10 => self.receive.limit as i32,
            11 => return Ok(OptionValue::Bytes(self.info(context))),
            12 => t.quick_ack.into(),
            13 => {
                let mut name = CONGESTION.to_vec();
                name.resize(16, 0);
                return Ok(OptionValue::Bytes(name));
            }
            18 => t.user_timeout.map_or(0, |d| d.as_millis() as i32),
            23 => t.fast_open,
            25 => t.not_sent_low_water as i32,
            16 | 17 | 24 | 30 | 36 | 37 => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }))
    }

    /// `struct tcp_info`, the fields of Linux 2.6 that programs read.
    fn info(&self, context: &Context<'_>) -> Vec<u8> {
        let micros = |d: Option<Duration>| d.map_or(0, |d| d.as_micros() as u32);
        let since = |at: kio::Instant| (context.now - at).as_millis() as u32;
        let mut info = vec![0; 104];
        info[0] = self.state.number();
        info[1] = u8::from(self.send.recover.is_some()) * 3;
        info[2] = self.send.retries as u8;
        info[3] = self.send.probes as u8;
        info[4] = self.send.rtt.backoff as u8;
        info[5] = u8::from(self.timestamps.on)
            | u8::from(self.sack) << 1
            | u8::from(self.receive.scale > 0) << 2;
        info[6] = self.send.scale | self.receive.scale << 4;
        let mss = self.send.mss.max(1);
        let fields = [
            self.send.rtt.timeout().as_micros() as u32,
            40_000,
            self.send.mss as u32,
            self.receive.mss as u32,
            (self.flight() / mss) as u32,
            (self.send.board.sacked_bytes() / mss) as u32,
            0,
            0,
            0,
            since(self.send.last_sent),
            0,
            since(self.receive.last),
            since(self.receive.last),
            self.path.as_ref().map_or(1500, |p| p.interface.mtu) as u32,
            self.receive.limit as u32,
            micros(self.send.rtt.smoothed()),
            micros(Some(self.send.rtt.variation())),
            self.send.congestion.threshold.min(0x7fff_ffff * mss) as u32 / mss as u32,
            (self.send.congestion.window / mss) as u32,
            self.offered_mss(context) as u32,
            3,
            0,
            self.receive.limit as u32,
            self.send.retransmits_total,
        ];
        for (slot, field) in info[8..].chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&field.to_ne_bytes());
        }
        info
    }

    /// Applies SO_RCVBUF and the like after they changed.
    pub(super) fn options_changed(&mut self, context: &Context<'_>) {
        if self.options.receive_buffer_locked {
            self.receive.limit = self.options.receive_buffer;
        }
        self.tcp.low_water = self.options.low_water.max(1) as usize;
        let armed = self.deadlines.keepalive.is_some();
        if armed != self.options.keep_alive && self.state != State::Listen {
            self.set_keepalive(context.now);
            self.schedule(context);
        }
    }
}
