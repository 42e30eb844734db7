// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ports of the host that lead into instances.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bhojpur_provider::{ErrorKind, InstanceId, Port, Protocol, State};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UdpSocket};

use crate::Bench;
use crate::bench::{expect_error, free_port};

/// For one answer; the next try follows.
const ANSWER: Duration = Duration::from_secs(5);

/// TCP and UDP, two instances beside each other, and again after a restart.
pub(super) async fn ports(bench: &mut Bench) -> Result<()> {
    let mut plan = bench.plan(&["tcp=80", "udp=53", "say=ready", "wait"]);
    let (tcp, udp) = (free_port(80, Protocol::Tcp)?, free_port(53, Protocol::Udp)?);
    plan.ports = vec![tcp, udp];
    bench.launch(&plan).await?;
    bench.says(&plan.id, "ready").await?;
    converse(bench, &plan.id, &tcp).await?;
    converse(bench, &plan.id, &udp).await?;
    bench.provider().kill(&plan.id).await?;
    // The ports are free at once for the next start.
    bench.provider().start(&plan).await.context("start again on the same ports")?;
    let twice = |log: &str| log.lines().filter(|&line| line == "ready").count() == 2;
    bench.log_until(&plan.id, "a second run", twice).await?;
    converse(bench, &plan.id, &tcp).await?;
    bench.delete(&plan.id).await?;
    TcpListener::bind((tcp.host_address, tcp.host)).context("the port is not free again")?;
    Ok(())
}

/// A port that somebody has is refused, and the one who has it keeps it.
pub(super) async fn ports_taken(bench: &mut Bench) -> Result<()> {
    let mut first = bench.plan(&["tcp=80", "wait"]);
    let port = free_port(80, Protocol::Tcp)?;
    first.ports = vec![port];
    bench.launch(&first).await?;
    bench.says(&first.id, "listening tcp 80").await?;

    let mut second = bench.plan(&["wait"]);
    second.ports = vec![port];
    refused(bench, &second, "a port of another instance").await?;
    converse(bench, &first.id, &port).await?;

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    second.ports[0].host = listener.local_addr()?.port();
    refused(bench, &second, "a port of another program").await?;
    drop(listener);
    bench.launch(&second).await.context("with the port free again")?;
    bench.expect_state(&second.id, State::Running).await?;
    bench.delete(&second.id).await?;

    // The same port for both transports is no clash.
    let both = [Protocol::Tcp, Protocol::Udp];
    let mut third = bench.plan(&["tcp=7", "udp=7", "say=ready", "wait"]);
    let host = free_port(7, Protocol::Tcp)?.host;
    third.ports = both.map(|protocol| Port { host, guest: 7, protocol, ..port }).to_vec();
    bench.launch(&third).await.context("one port for TCP and UDP")?;
    bench.says(&third.id, "ready").await?;
    for port in &third.ports {
        converse(bench, &third.id, port).await?;
    }
    bench.delete(&third.id).await?;
    bench.delete(&first.id).await
}

/// Neither created nor started; afterwards it is gone, or there and not running.
async fn refused(bench: &Bench, plan: &bhojpur_provider::Plan, what: &str) -> Result<()> {
    let result = match bench.provider().create(plan).await {
        Ok(()) => bench.provider().start(plan).await,
        refused => refused,
    };
    let error = expect_error(result, ErrorKind::Conflict, what)?;
    let number = plan.ports[0].host.to_string();
    ensure!(error.to_string().contains(&number), "the message names no port: {error}");
    ensure!(error.advice().is_some(), "there is no advice: {error}");
    if bench.provider().list().await?.contains(&plan.id) {
        ensure!(bench.state(&plan.id).await? != State::Running, "{what}: it runs nevertheless");
        bench.delete(&plan.id).await?;
    }
    Ok(())
}

/// Says something to a port and gets it back. Tried again for a while: a packet may be lost.
pub(super) async fn converse(bench: &Bench, id: &InstanceId, port: &Port) -> Result<()> {
    let address = bench.reach(id, port).await?;
    let deadline = Instant::now() + bench.harness.patience;
    loop {
        let attempt = tokio::time::timeout(ANSWER, echo(address, port.protocol)).await;
        let trouble = match attempt {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() > deadline {
            bail!("{:?} {address}: {trouble}", port.protocol);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn echo(address: SocketAddr, protocol: Protocol) -> Result<()> {
    let answer = match protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"how are you\n").await?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await?;
            line.trim_end().to_owned()
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
            socket.connect(address).await?;
            socket.send(b"how are you").await?;
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).await?;
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
    };
    ensure!(answer == "echo how are you", "the answer is {answer:?}");
    Ok(())
}
