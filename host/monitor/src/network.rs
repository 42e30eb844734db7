// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network that QEMU makes for a guest without privileges on the host.

use std::net::{IpAddr, Ipv4Addr};

use bhojpur_abi::config::{Address, Network, OwnedConfig};

/// The addresses that QEMU's documentation of `-netdev user` promises.
const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15));
const PREFIX: u8 = 24;
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));
const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3));

/// Gives the guest its addresses, so that it need not ask for them while it starts. What
/// the image says already stays.
pub fn configure(config: &mut OwnedConfig) {
    if config.network.unwrap_or_default() != Network::Dhcp {
        return;
    }
    config.network = Some(Network::Static);
    config.addresses = vec![Address { address: GUEST, prefix: PREFIX }];
    config.gateways = vec![ROUTER];
    if config.name_servers.is_empty() {
        config.name_servers = vec![NAME_SERVER];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_open_is_filled_in() {
        let mut open = OwnedConfig::default();
        configure(&mut open);
        assert_eq!((open.network, open.addresses.len()), (Some(Network::Static), 1));
        assert!(open.encode().is_ok());
        let mut closed = OwnedConfig { network: Some(Network::None), ..OwnedConfig::default() };
        configure(&mut closed);
        assert_eq!((closed.network, closed.addresses.len()), (Some(Network::None), 0));
    }
}
