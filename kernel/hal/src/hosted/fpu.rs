// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extended register state: the legacy area of FXSAVE, which no CPU loads.

use alloc::boxed::Box;

const SIZE: usize = 512;

/// No components of XSAVE.
pub fn component_mask() -> u64 {
    0
}

/// Bytes of a saved state.
pub fn state_size() -> usize {
    SIZE
}

/// A save area.
#[derive(Clone, Debug)]
pub struct FpuState(Box<[u8; SIZE]>);

impl FpuState {
    /// The state that a program starts with; never `None`.
    pub fn new() -> Option<Self> {
        let mut state = Self(Box::new([0; SIZE]));
        state.reset();
        Some(state)
    }

    /// Back to the state that a program starts with.
    pub fn reset(&mut self) {
        self.0.fill(0);
        self.0[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        self.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    }

    /// The area in the CPU's format.
    pub fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// Takes over a state that user code hands in.
    pub fn load_untrusted(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(SIZE);
        self.0[..len].copy_from_slice(&bytes[..len]);
    }
}
