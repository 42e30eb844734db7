// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes on under a token ends with the token.

use std::time::Duration;

use bhojpur_daemon::Tcp;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::Test;
use crate::rest::ask_over_tls;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[("revoked_tokens_end_their_streams", streams_end)];

const LIMIT: Duration = Duration::from_secs(30);

/// All that comes until the stream ends.
async fn rest(answer: hyper::Response<hyper::body::Incoming>) -> String {
    let mut body = answer.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap())),
            Err(error) => return format!("{text}{error}"),
        }
    }
    text
}

fn streams_end() {
    block_on(async {
        let mut world =
            World::with(|config| config.tcp = Some(Tcp::new("127.0.0.1:0".parse().unwrap()))).await;
        world.import(0, "web").await;
        world.run("one", &["forever"], json!({})).await;
        let mut secrets = Vec::new();
        for name in ["gone", "kept"] {
            let token = json!({ "name": name, "role": "operate" });
            let made = world.client.post("/v1/tokens", token).await;
            secrets.push(made["secret"].as_str().unwrap().to_owned());
        }
        let paths = [
            "/v1/events",
            "/v1/instances/one/logs?follow",
            "/v1/instances/one/stats?stream",
            "/instances/one/logs?follow=true",
        ];
        let (mut ended, mut kept) = (Vec::new(), Vec::new());
        for path in paths {
            let none = || Full::new(Bytes::new());
            let answer = ask_over_tls(&world, "GET", path, Some(&secrets[0]), none()).await;
            assert_eq!(answer.status(), 200, "{path}");
            ended.push(tokio::spawn(rest(answer)));
            let answer = ask_over_tls(&world, "GET", path, Some(&secrets[1]), none()).await;
            kept.push(tokio::spawn(rest(answer)));
        }
        // What is typed has no answer yet: it goes on for as long as the request does.
        let (typing, typed) = tokio::sync::mpsc::channel::<Bytes>(1);
        let body = http_body_util::StreamBody::new(futures_util::stream::unfold(
            typed,
            async |mut typed| {
                let bytes = typed.recv().await?;
                Some((Ok(hyper::body::Frame::data(bytes)), typed))
            },
        ));
        typing.send("abc\n".into()).await.unwrap();
        let input = ask_over_tls(
            &world,
            "POST",
            "/v1/instances/one/input",
            Some(&secrets[0]),
            Box::pin(body),
        );
        let remove = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.client.delete("/v1/tokens/gone").await;
        };
        let both = async { tokio::join!(input, remove).0 };
        let answer = tokio::time::timeout(LIMIT, both).await.expect("typing goes on");
        assert_eq!(answer.status(), 401);
        for (path, ended) in paths.iter().zip(ended) {
            let text = tokio::time::timeout(LIMIT, ended).await;
            let text = text.unwrap_or_else(|_| panic!("{path} goes on")).unwrap();
            if path.starts_with("/v1/") {
                assert!(text.contains("event: error") && text.contains("unauthorized"), "{text}");
            }
        }
        assert!(kept.iter().all(|kept| !kept.is_finished()), "other tokens are none of its");
        world.client.post("/v1/instances/one/stop?grace_s=30", Value::Null).await;
        world.end().await;
    });
}
