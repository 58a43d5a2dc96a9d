//! The executable, and a server's end.

use crate::support::*;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends the process it started, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_executable_says_where_it_listens_and_ends_with_its_input() {
    let port_file = std::env::temp_dir().join(format!("emulator-port-{}", std::process::id()));
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/sample-base.json");
    let child = Command::new(env!("CARGO_BIN_EXE_airtable-emulator"))
        .args([
            "--no-limits",
            "--exit-with-stdin",
            "--seed",
            sample,
            "--port-file",
        ])
        .arg(&port_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim_end()
        .strip_prefix("listening on http://")
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&port_file).unwrap().trim(),
        url.rsplit(':').next().unwrap()
    );
    std::fs::remove_file(&port_file).unwrap();
    let mut client = Client::new(url.parse().unwrap());
    assert_eq!(client.get("/v0/appPodiumSample001/events").ids().len(), 6);
    drop(process.0.stdin.take());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it outlived its input");
        std::thread::yield_now();
    };
    assert!(status.success());
}

#[test]
fn a_wrong_argument_is_named() {
    for arguments in [
        &["--nonsense"][..],
        &["--port", "x"],
        &["--seed", "/nowhere.json"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_airtable-emulator"))
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(told.contains(arguments.last().unwrap()), "{told}");
    }
}

#[test]
fn dropping_ends_waiting_connections_at_once() {
    let emulator = emulator();
    emulator.fault(&json!({"kind": "hang"})).unwrap();
    let address = emulator.addr();
    let waiting = std::thread::spawn(move || {
        Client::new(address).request("GET", &format!("/v0/{BASE}/People"), "", b"")
    });
    let started = Instant::now();
    while emulator.calls().is_empty() {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let started = Instant::now();
    drop(emulator);
    assert!(waiting.join().unwrap().is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn thousands_of_calls_by_many_clients_are_answered() {
    let emulator = emulator();
    let address = emulator.addr();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                (0..100)
                    .filter(|_| client.get(&format!("/v0/{BASE}/Projects/{APOLLO}")).status == 200)
                    .count()
            })
        })
        .collect();
    let answered: usize = clients.into_iter().map(|c| c.join().unwrap()).sum();
    assert_eq!((answered, emulator.calls().len()), (2000, 2000));
}
