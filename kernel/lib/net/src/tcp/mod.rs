// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP (RFC 9293) with SACK, timestamps, window scaling, CUBIC and tail loss
//! probes.
//!
//! A [`TcpSocket`] is both the socket of the program and the connection. Its
//! control block lies behind one lock, which is held while a segment is
//! processed and while segments are sent, straight from the send buffer into
//! the device. The connection table is sharded and holds a socket from its
//! first SYN until it is closed; TIME-WAIT is a small record in the table.

mod ack;
mod buffer;
mod congestion;
mod input;
mod listener;
mod open;
mod options;
mod output;
mod reassembly;
mod scoreboard;
mod segment;
mod seq;
mod socket;
#[cfg(test)]
mod sound;
mod state;
mod table;
mod timer;

pub(crate) use socket::TcpSocket;
pub(crate) use table::TcpTable;

/// True for a well-formed segment.
pub(crate) fn is_segment(bytes: &[u8]) -> bool {
    segment::Segment::parse(bytes).is_some()
}
