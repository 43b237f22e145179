//! The record, passed on: syslog hears every record at once; a collector that is away at first gets all of them when it is back, and
//! a statement's span belongs to the trace that its comment names.

use interceptor_tests::{Host, PORT, Server, environment};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A collector: takes what is posted, path and body.
fn collector(listener: TcpListener) -> Receiver<(String, Value)> {
    let (give, take) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
            let path = first.split(' ').nth(1).unwrap().to_owned();
            if give.send((path, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    take
}

#[test]
fn records_are_passed_on_once_and_traces_found() {
    let bin = PathBuf::from(environment("PG_BIN"));
    let server = Server::start_from(&bin, &[], &[], "host all all 127.0.0.0/8 trust\n", "create role app login");
    let socket_path = std::env::temp_dir().join(format!("interceptor-syslog-{:x}", rand::random::<u32>()));
    let syslog = UnixDatagram::bind(&socket_path).unwrap();
    syslog.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let sinks = format!("syslog = \"{}\"\notlp = \"http://127.0.0.1:{port}\"\n[limits]", socket_path.display());
    let mut host = Host::installed(|text| text.replace("[limits]", &sinks));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let text = format!("select 7 as seven /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/");
    let asked = host
        .agent(&format!("psql -XAt \"host={} port={PORT} user=app dbname=postgres\" -c \"{text}\"", server.address));
    assert_eq!(asked.stdout, "7\n", "{}\n{}", asked.stderr, host.log());

    // Syslog: the statement is a message of its own.
    let mut buffer = [0; 16384];
    let message = loop {
        let length = syslog.recv(&mut buffer).unwrap();
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if message.contains("\"event\":\"statement\"") {
            break message;
        }
    };
    assert!(
        message.starts_with("<86>1 ")
            && message.contains(" interceptor ")
            && message.contains(" statement - \u{feff}{"),
        "{message}"
    );

    // Nobody has listened to the other yet; it is told all the same, and stopping waits for nobody.
    std::thread::sleep(Duration::from_millis(600));
    assert!(host.log().contains("records cannot be passed on for now"), "{}", host.log());
    let posted = collector(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    host.stop();
    host.start();
    let (mut seqs, mut spans) = (Vec::new(), Vec::new());
    while spans.is_empty() {
        let (path, body) = posted.recv_timeout(Duration::from_secs(20)).unwrap();
        if path == "/v1/logs" {
            for record in body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap() {
                let line: Value = serde_json::from_str(record["body"]["stringValue"].as_str().unwrap()).unwrap();
                seqs.push(line["seq"].as_u64().unwrap());
            }
        } else {
            assert_eq!(path, "/v1/traces");
            spans.extend(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
        }
    }
    assert_eq!(seqs, (seqs[0]..seqs[0] + seqs.len() as u64).collect::<Vec<_>>(), "each once, in order");
    let span = &spans[0];
    assert_eq!((span["traceId"].as_str(), span["parentSpanId"].as_str()), (Some(trace), Some("00f067aa0ba902b7")));
    let nanoseconds = |member: &str| span[member].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanoseconds("startTimeUnixNano") < nanoseconds("endTimeUnixNano"), "{span}");
    std::fs::remove_file(socket_path).unwrap();
}
