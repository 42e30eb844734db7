// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The read-only root image, mapped in place.
#![no_std]
