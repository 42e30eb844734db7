// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each target survives its seeds, and each seed cut short at many places.

use bhojpur_fuzz::TARGETS;

#[test]
fn targets_survive_seeds_that_are_cut() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            (target.run)(&seed);
            for part in 1..32 {
                (target.run)(&seed[..seed.len() * part / 32]);
            }
        }
    }
}
