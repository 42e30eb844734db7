// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finding the functions of a machine.

use crate::register::{HEADER_BRIDGE, HEADER_TYPE, MULTI_FUNCTION, SECONDARY_BUS};
use crate::{Address, ConfigAccess, Function};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// All functions, root by root, each bus before those behind its bridges.
/// Buses that no bridge leads to are not looked at: each look is an exit to
/// the host.
pub fn enumerate(access: &Arc<dyn ConfigAccess>) -> Vec<Function> {
    let mut found = Vec::new();
    let mut buses = access.roots();
    let mut next = 0;
    while let Some(&(segment, bus)) = buses.get(next) {
        next += 1;
        for device in 0..32 {
            visit_device(access, Address { segment, bus, device, function: 0 }, |function| {
                if function.header_kind() == HEADER_BRIDGE {
                    let behind = (segment, function.read8(SECONDARY_BUS));
                    // A bridge that was not set up leads to bus 0, and a bad
                    // one may lead back: each bus is visited once.
                    if !buses.contains(&behind) {
                        buses.push(behind);
                    }
                }
                found.push(function);
            });
        }
    }
    found
}

fn visit_device(access: &Arc<dyn ConfigAccess>, first: Address, mut visit: impl FnMut(Function)) {
    let Some(function) = Function::new(access.clone(), first) else { return };
    let several = function.read8(HEADER_TYPE) & MULTI_FUNCTION != 0;
    visit(function);
    if several {
        (1..8)
            .filter_map(|function| Function::new(access.clone(), Address { function, ..first }))
            .for_each(visit);
    }
}
