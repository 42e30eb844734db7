// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PCI and ACPI tables: finding devices.
#![no_std]
