// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface: addresses, errors, tokens, images, volumes, the ancestor's paths.

use std::os::unix::fs::PermissionsExt as _;

use bhojpur_daemon::Tcp;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::Test;
use crate::client::Events;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("rest_errors", errors),
    ("rest_images", images),
    ("rest_images_say_how_they_run", images_say_how_they_run),
    ("rest_tokens", tokens),
    ("rest_ancestor", ancestor),
    ("rest_build", build),
    ("rest_page_and_numbers", page_and_numbers),
];

/// Every wrong request has one clear error, in JSON.
fn errors() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let socket = std::fs::metadata(&client.socket).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        let database = std::fs::metadata(world.home.join("state.db")).unwrap();
        assert_eq!(database.permissions().mode() & 0o777, 0o600);
        let none = Value::Null;
        client.refused("GET", "/v1/nowhere", none.clone(), 404, "not_found").await;
        client.refused("PATCH", "/v1/images", none.clone(), 405, "method_not_allowed").await;
        client.refused("GET", "/v1/instances/ghost", none.clone(), 404, "not_found").await;
        client.refused("GET", "/v1/instances?al", none.clone(), 422, "invalid").await;
        client
            .refused("POST", "/v1/instances", json!({ "image": "ghost" }), 404, "not_found")
            .await;
        let typo =
            client.refused("POST", "/v1/instances", json!({ "imag": "a" }), 422, "invalid").await;
        assert!(typo["message"].as_str().unwrap().contains("imag"));
        let broken = client.send("POST", "/v1/instances", b"{".to_vec()).await.unwrap();
        assert_eq!((broken.status, broken.json()["code"].as_str()), (400, Some("bad_request")));
        let secret = json!({ "image": "a", "env": { "A": ["hunter2"] }, "memory_mib": "hunter2" });
        let error = client.refused("POST", "/v1/instances", secret, 422, "invalid").await;
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let wrong = client.send("POST", "/v1/images/import", b"no ELF".to_vec()).await.unwrap();
        assert_eq!(wrong.status, 422, "{}", wrong.text());
        client.refused("POST", "/v1/images/import", none.clone(), 400, "bad_request").await;
        client
            .refused("POST", "/v1/images/import?provider=xen", none.clone(), 501, "unsupported")
            .await;
        client
            .refused("POST", "/v1/images/import?provider=vmware", none.clone(), 422, "invalid")
            .await;
        client
            .refused(
                "POST",
                "/v1/images/build?flags=[\"-toolexec=sh\"]",
                none.clone(),
                422,
                "invalid",
            )
            .await;
        for wrong in ["ports=[\"80/sctp\"]", "ports=[\"0\"]", "mounts=[\"/etc:/etc\"]", "cpus=0"] {
            let path = format!("/v1/images/build?{wrong}");
            client.refused("POST", &path, none.clone(), 422, "invalid").await;
        }
        client.refused("POST", "/v1/volumes?name=a", none.clone(), 422, "invalid").await;
        client
            .refused("POST", "/v1/volumes?name=../a&size_bytes=1", none.clone(), 422, "invalid")
            .await;
        client.refused("DELETE", "/v1/tokens/ghost", none, 404, "not_found").await;
        assert_eq!(
            std::fs::read_dir(world.home.join("tmp")).unwrap().count(),
            0,
            "nothing half-made"
        );
        world.end().await;
    });
}

fn images() {
    block_on(async {
        let mut world = World::new().await;
        let first = world.import(0, "web").await;
        let again = world.import(0, "team/web:1").await;
        assert_eq!(first["id"], again["id"]);
        assert_eq!(again["names"], json!(["team/web:1", "web:latest"]));
        assert_eq!(first["args"], json!(["/app/program"]));
        assert!(first["usual_memory_mib"].as_u64() > first["least_memory_mib"].as_u64());
        let client = &world.client;
        let id = first["id"].as_str().unwrap();
        for reference in ["web", "web:latest", "team%2Fweb:1", id, &id[..12]] {
            assert_eq!(client.get(&format!("/v1/images/{reference}")).await["id"], id);
        }
        let taken = client
            .send("POST", "/v1/images/import?name=web", crate::image::elf(1).to_vec())
            .await
            .unwrap();
        assert_eq!(taken.status, 409, "{}", taken.text());
        assert_eq!(client.get("/v1/images").await.as_array().unwrap().len(), 1);
        world.import(1, "web&force=true").await;
        assert_eq!(client.get(&format!("/v1/images/{id}")).await["names"], json!(["team/web:1"]));
        let elf = client.send("GET", &format!("/v1/images/{id}/elf"), Vec::new()).await.unwrap();
        assert_eq!(elf.body, crate::image::elf(0));
        client.post("/v1/images/web/tag", json!({ "name": "other:2" })).await;
        // With several names, one is taken away; with the last the image goes.
        client.delete("/v1/images/other:2").await;
        assert_eq!(client.get("/v1/images/web").await["names"], json!(["web:latest"]));
        world.run("one", &["forever"], json!({})).await;
        let used = client.refused("DELETE", "/v1/images/web", Value::Null, 409, "conflict").await;
        assert!(used["message"].as_str().unwrap().contains("one"));
        let little = json!({ "image": "web", "memory_mib": 1 });
        client.refused("POST", "/v1/instances", little, 422, "invalid").await;
        client.delete("/v1/images/web?force").await;
        client.refused("GET", "/v1/instances/one", Value::Null, 404, "not_found").await;
        assert_eq!(std::fs::read_dir(world.home.join("images")).unwrap().count(), 1);
        world.no_violations();
        world.end().await;
    });
}

/// Ports, memory and processors are part of an image; what a request says wins.
fn images_say_how_they_run() {
    block_on(async {
        let mut world = World::new().await;
        let image = world.import(2, "web").await;
        let ports = json!([{ "guest": 53, "protocol": "udp" }, { "guest": 80, "protocol": "tcp" }]);
        assert_eq!(image["ports"], ports);
        assert_eq!((&image["usual_memory_mib"], &image["usual_cpus"]), (&json!(512), &json!(2)));
        let usual = world.run("usual", &["forever"], json!({})).await;
        assert_eq!((&usual["memory_mib"], &usual["cpus"]), (&json!(512), &json!(2)));
        assert_eq!(usual["ports"], json!([]), "nothing is published unasked");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listener.local_addr().unwrap().port();
        drop(listener);
        let more = json!({ "memory_mib": 700, "cpus": 1, "publish_all": true,
            "ports": [{ "host": free, "guest": 80 }] });
        let other = world.run("other", &["forever"], more).await;
        assert_eq!((&other["memory_mib"], &other["cpus"]), (&json!(700), &json!(1)));
        let led = other["ports"].as_array().unwrap();
        assert_eq!(led.len(), 2, "{other}");
        assert_eq!((&led[0]["host"], &led[0]["guest"]), (&json!(free), &json!(80)));
        assert_eq!((&led[1]["guest"], &led[1]["protocol"]), (&json!(53), &json!("udp")));
        assert!(led[1]["host"].as_u64().unwrap() > 0 && led[1]["host_address"] == "127.0.0.1");
        world.client.delete("/v1/images/web?force").await;
        // An image that names nothing publishes nothing.
        world.import(0, "web").await;
        let plain = world.run("plain", &["forever"], json!({ "publish_all": true })).await;
        assert_eq!((&plain["ports"], &plain["cpus"]), (&json!([]), &json!(1)));
        world.client.delete("/v1/images/web?force").await;
        world.no_violations();
        world.end().await;
    });
}

/// A tar of one file.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

/// One request over TLS.
async fn over_tls(world: &World, method: &str, path: &str, token: Option<&str>) -> (u16, Value) {
    let answer = ask_over_tls(world, method, path, token, Full::new(Bytes::new())).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The answer to one request over TLS, as it comes.
pub(crate) async fn ask_over_tls<B>(
    world: &World,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: B,
) -> hyper::Response<hyper::body::Incoming>
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let mut roots = RootCertStore::empty();
    let certificate = world.ready.certificate.as_ref().unwrap();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(world.ready.tcp.unwrap()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream =
        TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request =
        hyper::Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    sender.send_request(request.body(body).unwrap()).await.unwrap()
}

fn tokens() {
    block_on(async {
        let mut world =
            World::with(|config| config.tcp = Some(Tcp::new("127.0.0.1:0".parse().unwrap()))).await;
        let mut secrets = Vec::new();
        for role in ["read", "operate", "admin"] {
            let made = world.client.post("/v1/tokens", json!({ "name": role, "role": role })).await;
            secrets.push(made["secret"].as_str().unwrap().to_owned());
        }
        let again = json!({ "name": "read", "role": "read" });
        world.client.refused("POST", "/v1/tokens", again, 409, "conflict").await;
        assert!(!world.client.get("/v1/tokens").await.to_string().contains(&secrets[0]));
        let (read, operate, admin) = (&*secrets[0], &*secrets[1], &*secrets[2]);
        for (method, path, token, status) in [
            ("GET", "/v1/info", None, 401),
            ("GET", "/v1/info", Some("wrong"), 401),
            ("GET", "/images", None, 401),
            ("GET", "/metrics", None, 401),
            ("GET", "/", None, 200),
            ("GET", "/v1/info", Some(read), 200),
            ("POST", "/v1/instances/x/start", Some(read), 403),
            ("POST", "/v1/instances/x/start", Some(operate), 404),
            ("DELETE", "/instances/x", Some(read), 403),
            ("GET", "/instances/x/logs?follow=true", Some(read), 404),
            ("GET", "/instances/x/logs?follow=true&delete=true", Some(read), 403),
            ("GET", "/instances/x/logs?delete", Some(read), 403),
            ("GET", "/instances/x/logs?follow=true&delete=true", Some(operate), 404),
            ("GET", "/v1/tokens", Some(operate), 403),
            ("GET", "/v1/tokens", Some(admin), 200),
        ] {
            let (found, body) = over_tls(&world, method, path, token).await;
            assert_eq!(found, status, "{method} {path} {body}");
        }
        world.client.delete("/v1/tokens/read").await;
        assert_eq!(over_tls(&world, "GET", "/v1/info", Some(read)).await.0, 401);
        assert_eq!(world.client.get("/v1/info").await["role"], "admin");
        let bytes = std::fs::read(world.home.join("state.db")).unwrap();
        let wal = std::fs::read(world.home.join("state.db-wal")).unwrap_or_default();
        for secret in &secrets {
            let text = secret.as_bytes();
            assert!(!bytes.windows(text.len()).chain(wal.windows(text.len())).any(|w| w == text));
        }
        // Plain HTTP gets nowhere.
        let mut plain = tokio::net::TcpStream::connect(world.ready.tcp.unwrap()).await.unwrap();
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        plain.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"));
        world.end().await;
    });
}

/// What a client of the ancestor does.
fn ancestor() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let image = &client.get("/images").await[0];
        assert_eq!(
            (image["Name"].as_str(), image["Infrastructure"].as_str()),
            (Some("web"), Some("QEMU"))
        );
        assert!(image["RunSpec"]["DefaultInstanceMemory"].as_u64().unwrap() > 0);
        assert!(client.get("/available_compilers").await.to_string().contains("bhojpur-go-qemu"));
        assert_eq!(client.get("/available_providers").await, json!(["qemu"]));
        let missing = client.ask("GET", "/images/ghost", Value::Null).await;
        assert_eq!(missing.status, 404);
        assert!(missing.json().is_null() && missing.text().contains("ghost"));
        client.post("/volumes/data?size=16&type=ext2&provider=qemu", Value::Null).await;
        let run = json!({ "InstanceName": "one", "ImageName": "web", "Mounts": { "/data": "data" },
            "Env": { "WHO": "ancestor" }, "MemoryMb": 256, "NoCleanup": false, "DebugMode": false });
        let answer = client.ask("POST", "/instances/run", run).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let instance = answer.json();
        assert_eq!(
            (instance["Name"].as_str(), instance["State"].as_str()),
            (Some("one"), Some("running"))
        );
        assert_eq!(client.get("/volumes/data").await["Attachment"], instance["Id"]);
        let mut logs = client
            .open("GET", "/instances/one/logs?follow=true&delete=true", Vec::new())
            .await
            .unwrap()
            .into_body();
        let mut text = Vec::new();
        while !(String::from_utf8_lossy(&text).contains("hello from ancestor") && text.contains(&0))
        {
            text.extend_from_slice(logs.frame().await.unwrap().unwrap().data_ref().unwrap());
        }
        assert!(text.starts_with(b"getting logs for "));
        assert_eq!(client.ask("POST", "/instances/one/stop", Value::Null).await.status, 200);
        assert_eq!(client.ask("POST", "/instances/one/start", Value::Null).await.status, 200);
        drop(logs);
        while client.ask("GET", "/instances/one", Value::Null).await.status != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(client.ask("POST", "/images/push/web", json!({})).await.status, 501);
        client.delete("/volumes/data?force=true").await;
        world.no_violations();
        world.end().await;
    });
}

/// Builds from a context: the language is found, errors name what is wrong.
fn build() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let events = async |path: &str, tar: Vec<u8>| {
            let mut events = Events::of(client.open("POST", path, tar).await.unwrap());
            let mut last = Value::Null;
            while let Some(event) = events.next().await {
                last = event;
            }
            last
        };
        let refused = events("/v1/images/build?name=a", tar("a.py", b"print()")).await;
        assert_eq!(
            (refused["event"].as_str(), refused["error"]["code"].as_str()),
            (Some("failed"), Some("unsupported")),
            "{refused}"
        );
        let refused = events("/v1/images/build?name=a&path=..", tar("a.py", b"")).await;
        assert!(refused["error"]["message"].as_str().unwrap().contains("leads out"), "{refused}");
        let nothing = events("/v1/images/build?name=a", tar("notes.txt", b"")).await;
        assert_eq!(nothing["error"]["message"], "no program found in .", "{nothing}");
        let no_tar = events("/v1/images/build?name=a", b"hello".to_vec()).await;
        assert_eq!(no_tar["error"]["code"], "invalid", "{no_tar}");
        if std::process::Command::new("go").arg("version").output().is_err() {
            eprintln!("rest_build: SKIPPED the build itself: Go is not installed");
        } else {
            let broken = events(
                "/v1/images/build?name=a",
                tar("main.go", b"package main\nfunc main() { x }"),
            )
            .await;
            let message = broken["error"]["message"].as_str().unwrap();
            assert!(message.contains("main.go:2") && !message.contains("/tmp/"), "{message}");
            let done = events(
                "/v1/images/build?name=hello:1&args=[\"a\"]&env=[\"K=V\"]",
                tar("main.go", b"package main\nfunc main() { println(1) }"),
            )
            .await;
            assert_eq!(done["image"]["names"], json!(["hello:1"]), "{done}");
            assert_eq!(done["image"]["args"], json!(["/app/main", "a"]));
            assert_eq!(done["image"]["language"], "go");
            assert!(done["image"]["env"].as_array().unwrap().contains(&json!("K=V")));
            let told = format!(
                "/v1/images/build?name=told&ports={}&memory_mib=640&cpus=2&mounts={}",
                "[\"80\",\"53/udp\"]", "[\"tmpfs:/var/cache\"]"
            );
            let told =
                events(&told, tar("main.go", b"package main\nfunc main() { println(2) }")).await;
            let image = &told["image"];
            assert_eq!(image["ports"].as_array().unwrap().len(), 2, "{told}");
            assert_eq!(
                (&image["usual_memory_mib"], &image["usual_cpus"]),
                (&json!(640), &json!(2))
            );
            let little = events(
                "/v1/images/build?name=little&memory_mib=1",
                tar("main.go", b"package main\nfunc main() { println(3) }"),
            )
            .await;
            assert_eq!(little["error"]["code"], "invalid", "{little}");
            assert!(little["error"]["advice"].as_str().unwrap().contains("at least"), "{little}");
            // A client that leaves ends its build.
            let mut events = Events::of(
                client
                    .open(
                        "POST",
                        "/v1/images/build?name=left",
                        tar(
                            "main.go",
                            b"package main\nimport \"net/http\"\nfunc main() { http.Get(\"\") }",
                        ),
                    )
                    .await
                    .unwrap(),
            );
            events.next().await.unwrap();
            drop(events);
            while std::fs::read_dir(world.home.join("tmp")).unwrap().count() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        assert_eq!(
            std::fs::read_dir(world.home.join("tmp")).unwrap().count(),
            0,
            "nothing half-made"
        );
        world.end().await;
    });
}

fn page_and_numbers() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        // The first time, and when it is asked whether it can.
        world.fault("usage", "fail 2");
        world.run("one", &["forever"], json!({})).await;
        let client = &world.client;
        let page = client.open("GET", "/", Vec::new()).await.unwrap();
        assert!(
            page.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("default-src 'none'")
        );
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let stats = client.get("/v1/instances/one/stats").await;
        assert!(stats["memory_bytes"].as_u64().unwrap() > 0);
        assert!(
            !client.get("/v1/instances/one/stats/history").await.as_array().unwrap().is_empty()
        );
        let mut stream = Events::open(client, "/v1/instances/one/stats?stream=true").await;
        assert!(stream.next().await.unwrap()["memory_limit_bytes"].as_u64().unwrap() > 0);
        client.ask("BREW-7", "/v1/ping", Value::Null).await;
        let metrics = client.ask("GET", "/metrics", Value::Null).await.text();
        assert!(!metrics.contains("BREW"), "whoever asks could make it grow\n{metrics}");
        for line in [
            "bhojpur_requests_total{method=\"other\",route=\"/v1/ping\",status=\"405\"} 1",
            "bhojpur_instances{state=\"running\"} 1",
            "bhojpur_requests_total{method=\"POST\",route=\"/v1/instances\",status=\"201\"} 1",
            "bhojpur_instance_memory_bytes{name=\"one\"",
        ] {
            assert!(metrics.contains(line), "{line}\n{metrics}");
        }
        let providers = client.get("/v1/providers").await;
        assert_eq!(providers.as_array().unwrap().len(), 10);
        assert_eq!(client.get("/v1/openapi.json").await["info"]["title"], "Bhojpur Kernel daemon");
        client.delete("/v1/instances/one?force").await;
        world.end().await;
    });
}
