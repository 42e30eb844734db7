// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether and when an instance that ended is started again.

use std::time::Duration;

use crate::model::Restart;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run of this length was a good one: the next delay is the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// After how long an instance is started again that ran for `ran`; `None`: it is not. `streak`
/// counts its ends in a row.
pub(crate) fn decide(
    streak: &mut u32,
    policy: Restart,
    failed: bool,
    ran: Duration,
) -> Option<Duration> {
    if ran >= GOOD_RUN {
        *streak = 0;
    }
    let again = match policy {
        Restart::No => false,
        Restart::OnFailure(most) => failed && (most == 0 || *streak < most),
        Restart::Always => true,
    };
    if !again {
        *streak = 0;
        return None;
    }
    let delay = delay(*streak);
    *streak = streak.saturating_add(1);
    Some(delay)
}

/// What is left of the delay that was decided on last, when the end is `passed` ago.
pub(crate) fn remaining(streak: u32, passed: Duration) -> Duration {
    delay(streak.saturating_sub(1)).saturating_sub(passed)
}

/// Doubles with each end in a row.
fn delay(ends: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << ends.min(16)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_to_a_minute_and_a_good_run_resets_them() {
        let mut streak = 0;
        let mut delays: Vec<u128> = Vec::new();
        for _ in 0..12 {
            delays.push(decide(&mut streak, Restart::Always, false, SHORT).unwrap().as_millis());
        }
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[9..], [51_200, 60_000, 60_000]);
        let after = decide(&mut streak, Restart::Always, false, GOOD_RUN).unwrap();
        assert_eq!(after, FIRST_DELAY);
    }

    #[test]
    fn a_delay_goes_on_where_it_was_left() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(1, Duration::ZERO), FIRST_DELAY);
        assert_eq!(remaining(12, seconds(20)), seconds(40));
        assert_eq!(remaining(2, seconds(20)), Duration::ZERO);
        assert_eq!(remaining(0, Duration::ZERO), FIRST_DELAY);
    }

    #[test]
    fn policies_differ_in_what_they_take_for_a_reason() {
        let decide = |policy, failed| decide(&mut 0, policy, failed, SHORT).is_some();
        assert!(!decide(Restart::No, true) && !decide(Restart::No, false));
        assert!(decide(Restart::OnFailure(0), true) && !decide(Restart::OnFailure(0), false));
        assert!(decide(Restart::Always, true) && decide(Restart::Always, false));
    }

    #[test]
    fn retries_in_a_row_are_counted() {
        let mut streak = 0;
        let policy = Restart::OnFailure(2);
        assert!(decide(&mut streak, policy, true, SHORT).is_some());
        assert!(decide(&mut streak, policy, true, SHORT).is_some());
        assert!(decide(&mut streak, policy, true, SHORT).is_none());
        // A person started it again: the count begins anew.
        assert!(decide(&mut streak, policy, true, SHORT).is_some());
        assert!(decide(&mut streak, policy, true, SHORT).is_some());
        assert!(decide(&mut streak, policy, true, GOOD_RUN).is_some());
    }
}
