// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the whole stack: two of them, joined by a simulated link in
//! virtual time.

mod addresses;
mod datagrams;
mod hostile;
mod loopback;
mod network;
mod peer;
mod states;
mod streams;

/// Gives both ends a measure of the round trip.
fn streams_warm(network: &network::Network, one: &dyn kio::Socket, two: &dyn kio::Socket) {
    for _ in 0..30 {
        network::transfer(network, one, two, 2000, core::time::Duration::from_secs(60));
        network::transfer(network, two, one, 2000, core::time::Duration::from_secs(60));
    }
    network.run(core::time::Duration::from_secs(1));
}
