// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Points in time as the database and the wire have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) i64);

impl Timestamp {
    /// The present.
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time so much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long it is until then; nothing when it has passed.
    pub(crate) fn left(self) -> Duration {
        let left = self.0.saturating_sub(Self::now().0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// How long ago it was; nothing for what is to come.
    pub(crate) fn passed(self) -> Duration {
        let milliseconds = Self::now().0.saturating_sub(self.0);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds.
    pub(crate) fn rfc3339(self) -> String {
        let days = self.0.div_euclid(86_400_000);
        let milliseconds = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil(days);
        let (seconds, fraction) = (milliseconds / 1000, milliseconds % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let milliseconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |value| -value)
            }
        };
        Self(milliseconds)
    }
}

/// Year, month and day of a day since 1970-01-01 in the proleptic Gregorian calendar. Years are
/// counted from March, so that the leap day is the last one of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    // 1970-01-01 is day 719468 after 0000-03-01.
    let days = days + 719_468;
    let era = days.div_euclid(ERA_DAYS);
    let day_of_era = days.rem_euclid(ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_rfc_3339() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(milliseconds).rfc3339(), text);
        }
    }
}
