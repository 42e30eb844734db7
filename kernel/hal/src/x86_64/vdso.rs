// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The code of the vDSO.
