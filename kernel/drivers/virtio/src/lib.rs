// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio transports, rings and devices.
#![no_std]
