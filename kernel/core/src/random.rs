// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random numbers: a ChaCha20 generator, keyed from the CPU, virtio-rng and
//! the jitter of the cycle counter, with fast key erasure after each request.

use ksync::SpinLock;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const KEY_SIZE: usize = 32;

/// The kernel's generator.
#[derive(Debug)]
pub struct Random {
    generator: SpinLock<ChaCha20Rng>,
}

impl Random {
    /// Seeds from the CPU and the cycle counter. [`mix`](Self::mix) adds more.
    pub fn new() -> Self {
        let mut seed = [0; KEY_SIZE];
        for chunk in seed.chunks_exact_mut(8) {
            let hardware = khal::random::hardware_word().unwrap_or(0);
            let jitter = khal::random::cycle_counter().rotate_left(17);
            chunk.copy_from_slice(&(hardware ^ jitter).to_le_bytes());
        }
        Self { generator: SpinLock::new(ChaCha20Rng::from_seed(seed)) }
    }

    /// Mixes bytes of any quality into the key.
    pub fn mix(&self, bytes: &[u8]) {
        let mut generator = self.generator.lock();
        for chunk in bytes.chunks(KEY_SIZE) {
            let mut key = [0; KEY_SIZE];
            generator.fill_bytes(&mut key);
            key.iter_mut().zip(chunk).for_each(|(k, b)| *k ^= b);
            *generator = ChaCha20Rng::from_seed(key);
        }
    }

    /// Fills with random bytes. The key that made them is gone afterwards.
    pub fn fill(&self, bytes: &mut [u8]) {
        let mut generator = self.generator.lock();
        generator.fill_bytes(bytes);
        let mut key = [0; KEY_SIZE];
        generator.fill_bytes(&mut key);
        *generator = ChaCha20Rng::from_seed(key);
    }

    /// A random word.
    pub fn word(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
