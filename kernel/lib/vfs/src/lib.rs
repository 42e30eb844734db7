// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inodes, mounts and path resolution.
#![no_std]
