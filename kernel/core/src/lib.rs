// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes, threads, signals, memory and the system call table.
#![no_std]
