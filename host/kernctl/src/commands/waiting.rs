// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for the end of an instance, over all that may come between: the daemon answers after
//! a while in any case, and it can be started anew while its instances run on.

use std::future::Future;
use std::time::Duration;

use bhojpur_api::{Code, Instance, InstanceState};
use bhojpur_client::{Client, Error};
use tokio::time::Instant;

use crate::Failure;
use crate::session::Session;

/// How long a daemon may be away.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// For so long nobody else is in its way who starts it: a service manager, or a person who
/// installs a newer one. Then one of our own is started, as every command would.
const RETURN: Duration = Duration::from_secs(5);
/// How long one question may take. A connection whose other end is lost without a word, as over a
/// network, is given up soon after.
const QUESTION_S: u64 = 600;
/// Between two questions.
const AGAIN: Duration = Duration::from_millis(200);

/// Whether an instance asks nothing of the daemon.
pub(crate) fn is_at_rest(instance: &Instance) -> bool {
    matches!(instance.state, InstanceState::Created | InstanceState::Stopped | InstanceState::Error)
}

/// Whether it has ended. One that is just being removed has, and what is said of it is how.
fn has_ended(instance: &Instance) -> bool {
    is_at_rest(instance) || instance.state == InstanceState::Deleting
}

/// Whether a daemon may answer later that does not now.
pub(crate) fn is_away(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. } | Error::Broken { .. } | Error::TimedOut { .. })
        || error.code() == Some(Code::Busy)
}

/// Waits until the instance does not run any more, and gives it as it is then.
pub(crate) async fn ended(
    session: &Session,
    client: &Client,
    instance: &str,
) -> Result<Instance, Failure> {
    let ask = |reference: String, away: Duration| async move {
        if away > RETURN {
            // That none could be started is what the next question tells as well.
            let _ = session.connect().await;
        }
        client.wait(&reference, Some(QUESTION_S)).await
    };
    until_ended(instance, ask, AGAIN, AWAY_MAX).await
}

/// Asks until the answer is an end. `ask` is told for how long nobody has answered.
async fn until_ended<F>(
    instance: &str,
    mut ask: impl FnMut(String, Duration) -> F,
    again: Duration,
    away_max: Duration,
) -> Result<Instance, Failure>
where
    F: Future<Output = Result<Instance, Error>>,
{
    let mut reference = instance.to_owned();
    let mut away_since = None;
    loop {
        let away = away_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        match ask(reference.clone(), away).await {
            Ok(instance) if has_ended(&instance) => return Ok(instance),
            Ok(instance) => {
                away_since = None;
                // Its name may go to another one before the next question.
                reference = instance.id;
            }
            Err(error) if is_away(&error) && away < away_max => {
                away_since = away_since.or_else(|| Some(Instant::now()));
            }
            Err(error) => return Err(lost_sight(error, instance, away)),
        }
        tokio::time::sleep(again).await;
    }
}

fn lost_sight(error: Error, instance: &str, away: Duration) -> Failure {
    if !is_away(&error) {
        return error.into();
    }
    let seconds = away.as_secs();
    Failure::unreachable(format!(
        "the daemon has not answered for {seconds} seconds, and nobody can tell whether {instance} \
         still runs: {error}"
    ))
    .advise(format!("start the daemon, then: kernctl wait {instance}"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn instance(state: &str) -> Instance {
        serde_json::from_value(serde_json::json!({
            "id": "abcd", "name": "web", "image": "web", "image_id": "feed", "provider": "qemu",
            "state": state, "created": "2020-01-01T00:00:00Z", "restarts": 0, "env_names": [],
            "labels": {}, "memory_mib": 64, "cpus": 1, "ports": [], "volumes": [],
            "network": {"mode": "default"}, "restart": {"name": "no"},
        }))
        .unwrap()
    }

    fn away() -> Error {
        Error::Broken {
            address: bhojpur_client::Address::Unix("/kernctl.sock".into()),
            reason: "it ended".to_owned(),
        }
    }

    #[tokio::test]
    async fn answers_before_the_end_and_short_absences_are_none() {
        let asked = RefCell::new(Vec::new());
        let ask = |reference: String, _| {
            asked.borrow_mut().push(reference);
            let answer = match asked.borrow().len() {
                1 => Err(away()),
                2 => Ok(instance("running")),
                3..20 => Err(away()),
                20 => Ok(instance("restarting")),
                _ => Ok(instance("stopped")),
            };
            std::future::ready(answer)
        };
        let ended = until_ended("web", ask, Duration::from_millis(1), AWAY_MAX).await.unwrap();
        assert_eq!(ended.state, InstanceState::Stopped);
        assert_eq!(asked.borrow()[..3], ["web", "web", "abcd"]);
    }

    #[tokio::test]
    async fn a_daemon_that_stays_away_is_told_and_one_that_refuses_at_once() {
        let (again, away_max) = (Duration::from_millis(1), Duration::from_millis(50));
        let begin = Instant::now();
        let ask = |_, _| std::future::ready(Err(away()));
        let failure = until_ended("web", ask, again, away_max).await.unwrap_err();
        assert!(failure.is_unreachable());
        assert!(begin.elapsed() >= away_max);
        let ask = |_, away| {
            assert_eq!(away, Duration::ZERO, "asked again");
            let body = bhojpur_api::ErrorBody {
                code: Code::NotFound,
                message: "there is no instance".to_owned(),
                advice: None,
            };
            std::future::ready(Err(Error::Refused(body)))
        };
        assert!(until_ended("web", ask, again, away_max).await.unwrap_err().is_not_found());
    }
}
