// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes as ext4 disk images: made, filled, read and checked without a mount.
#![forbid(unsafe_code)]
