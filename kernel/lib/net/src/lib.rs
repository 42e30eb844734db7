// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network stack: IP, TCP, UDP, ICMP, DHCP, sockets.
#![no_std]
