// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers for Prometheus, in its text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Methods that are counted by their names (RFC 9110, section 9, and RFC 5789).
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// Those that are not among them. A method is whatever word a client sends, with or without a
/// token, and each would stay in memory.
const OTHER: &str = "other";

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), u64>>,
    latency: Mutex<BTreeMap<String, Histogram>>,
    restarts: AtomicU64,
    builds: [AtomicU64; 2],
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    /// A request was answered. `route` is the pattern of its path, never the path itself.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let key = (known(method), route.to_owned(), status);
        *lock(&self.requests).entry(key).or_default() += 1;
        let seconds = took.as_secs_f64();
        let mut latency = lock(&self.latency);
        let histogram = latency.entry(route.to_owned()).or_default();
        for (count, bound) in histogram.counts.iter_mut().zip(BOUNDS) {
            *count += u64::from(seconds <= bound);
        }
        histogram.count += 1;
        histogram.sum += seconds;
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn built(&self, succeeded: bool) {
        self.builds[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything that is counted here.
    pub(crate) fn write(&self, page: &mut Page) {
        page.family("bhojpur_requests_total", "counter", "Requests that were answered.");
        for ((method, route, status), count) in lock(&self.requests).iter() {
            let labels = [("method", *method), ("route", route), ("status", &status.to_string())];
            page.value("bhojpur_requests_total", &labels, *count as f64);
        }
        page.family("bhojpur_request_seconds", "histogram", "Time until an answer began.");
        for (route, histogram) in lock(&self.latency).iter() {
            for (count, bound) in histogram.counts.iter().zip(BOUNDS) {
                let labels = [("route", route.as_str()), ("le", &bound.to_string())];
                page.value("bhojpur_request_seconds_bucket", &labels, *count as f64);
            }
            let all = histogram.count as f64;
            page.value("bhojpur_request_seconds_bucket", &[("route", route), ("le", "+Inf")], all);
            page.value("bhojpur_request_seconds_sum", &[("route", route)], histogram.sum);
            page.value("bhojpur_request_seconds_count", &[("route", route)], all);
        }
        page.family("bhojpur_restarts_total", "counter", "Starts by a restart policy.");
        let restarts = self.restarts.load(Ordering::Relaxed) as f64;
        page.value("bhojpur_restarts_total", &[], restarts);
        page.family("bhojpur_builds_total", "counter", "Builds that ended.");
        for (result, count) in ["failed", "succeeded"].iter().zip(&self.builds) {
            let count = count.load(Ordering::Relaxed) as f64;
            page.value("bhojpur_builds_total", &[("result", result)], count);
        }
    }
}

fn known(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A page in Prometheus's format.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (key, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{key}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_methods_take_no_memory() {
        let metrics = Metrics::default();
        for number in 0..1000 {
            metrics.answered(&format!("BREW-{number}"), "unknown", 401, Duration::ZERO);
        }
        metrics.answered("get", "unknown", 401, Duration::ZERO);
        metrics.answered("GET", "unknown", 401, Duration::ZERO);
        assert_eq!(lock(&metrics.requests).len(), 2);
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.finish();
        let other =
            "bhojpur_requests_total{method=\"other\",route=\"unknown\",status=\"401\"} 1001";
        assert!(text.lines().any(|line| line == other), "{text}");
    }

    #[test]
    fn a_page_has_the_format_that_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.answered("GET", "/v1/x\"y", 200, Duration::from_millis(7));
        metrics.built(true);
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.finish();
        for line in [
            "# TYPE bhojpur_request_seconds histogram",
            "bhojpur_requests_total{method=\"GET\",route=\"/v1/x\\\"y\",status=\"200\"} 1",
            "bhojpur_request_seconds_bucket{route=\"/v1/x\\\"y\",le=\"0.005\"} 0",
            "bhojpur_request_seconds_bucket{route=\"/v1/x\\\"y\",le=\"0.01\"} 1",
            "bhojpur_request_seconds_count{route=\"/v1/x\\\"y\"} 1",
            "bhojpur_builds_total{result=\"succeeded\"} 1",
            "bhojpur_restarts_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
