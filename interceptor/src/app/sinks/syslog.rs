//! Syslog (RFC 5424), each record a message of facility `authpriv` with the record as its JSON.

use super::Sink;
use crate::audit::{Decision, Record};
use anyhow::{Context, Result};
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;

/// `authpriv`, RFC 5424 6.2.1.
const FACILITY: u8 = 10;

/// Longer messages do not fit into datagrams everywhere (RFC 5425 4.3.1 has receivers take 8,192 bytes).
const MOST: usize = 8192;

/// A statement's share where the record is too long.
const EXCERPT: usize = 2000;

pub(super) struct Syslog {
    to: To,
    host: String,
}

enum To {
    Socket(String),
    Udp(UdpSocket),
}

impl Syslog {
    pub(super) fn to(place: &str) -> Result<Self> {
        let host = nix::unistd::gethostname().map_or_else(|_| "-".into(), |name| name.to_string_lossy().into_owned());
        let to = match place.strip_prefix("udp://") {
            Some(address) => {
                let address = address.to_socket_addrs()?.next().context("it is no address")?;
                let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(own)?;
                socket.connect(address)?;
                To::Udp(socket)
            }
            None => To::Socket(place.to_owned()),
        };
        Ok(Self { to, host })
    }

    fn message(&self, line: &str) -> Result<Vec<u8>> {
        let record: Record = serde_json::from_str(line)?;
        let severity = match record.decision {
            Some(Decision::Deny) => 4,
            Some(Decision::Hold) => 5,
            Some(Decision::Permit) | None => 6,
        };
        let event = serde_json::to_value(record.event)?;
        // The byte order mark says that what follows is UTF-8 (6.4).
        let head = format!(
            "<{}>1 {} {} interceptor {} {} - \u{feff}",
            FACILITY * 8 + severity,
            record.time,
            self.host,
            std::process::id(),
            event.as_str().unwrap_or("-")
        );
        let mut body = line.to_owned();
        if head.len() + body.len() > MOST {
            body = shortened(line)?;
        }
        // Names of programs are as long as who runs them likes, and longer still as JSON.
        if head.len() + body.len() > MOST {
            body = stub(&record);
        }
        Ok([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// Still JSON, and it says what it is.
fn shortened(line: &str) -> Result<String> {
    let mut record: serde_json::Value = serde_json::from_str(line)?;
    if let Some(members) = record.as_object_mut() {
        let statement = members.get("statement").and_then(|text| text.as_str()).unwrap_or_default();
        let excerpt: String = statement.chars().take(EXCERPT).collect();
        for long in ["statement", "binds", "relations", "functions", "outcome"] {
            members.remove(long);
        }
        members.insert("statement".to_owned(), excerpt.into());
        members.insert("cut".to_owned(), true.into());
    }
    Ok(record.to_string())
}

/// What is left where even that is too long: which record it is.
fn stub(record: &Record) -> String {
    let session: String = record.subject.session.chars().take(64).collect();
    serde_json::json!({ "v": record.v, "seq": record.seq, "time": record.time, "event": record.event, "session": session, "decision": record.decision, "prev": record.prev, "cut": true }).to_string()
}

impl Sink for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn send(&mut self, lines: &[String]) -> Result<()> {
        match &self.to {
            To::Udp(socket) => {
                for line in lines {
                    socket.send(&self.message(line)?)?;
                }
            }
            // Each time anew: a syslog daemon that is started again has another socket.
            To::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path).with_context(|| format!("`{path}`"))?;
                for line in lines {
                    socket.send(&self.message(line)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_and_short_enough() {
        let syslog = Syslog { to: To::Socket(String::new()), host: "h".to_owned() };
        let line = |statement: &str, decision: &str| {
            format!(
                "{{\"v\":1,\"seq\":7,\"time\":\"2026-01-02T03:04:05.000006Z\",\"event\":\"statement\",\"session\":\"s\",\"agent\":null,\"process\":null,\"server\":\"\",\"database\":\"d\",\"role\":\"r\",\"claimed_role\":\"\",\"statement\":{},\"binds\":null,\"shape\":null,\"verbs\":[],\"relations\":[],\"functions\":[],\"decision\":{decision},\"policies\":[],\"obligations\":[],\"outcome\":null,\"prev\":\"\"}}",
                serde_json::to_string(statement).unwrap()
            )
        };
        for (statement, decision, severity, cut) in [
            ("select 1", "\"permit\"", 86, false),
            ("select 'ü'", "\"deny\"", 84, false),
            ("select 1", "null", 86, false),
            (&*"é".repeat(9000), "\"hold\"", 85, true),
        ] {
            let message = syslog.message(&line(statement, decision)).unwrap();
            assert!(message.len() <= MOST);
            let text = String::from_utf8(message).unwrap();
            let head = format!(
                "<{severity}>1 2026-01-02T03:04:05.000006Z h interceptor {} statement - \u{feff}",
                std::process::id()
            );
            let json = text.strip_prefix(&head).unwrap_or_else(|| panic!("{text}"));
            let record: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(record.get("cut").is_some(), cut);
            assert!(statement.starts_with(record["statement"].as_str().unwrap()));
        }
    }

    #[test]
    fn names_of_any_length_leave_a_message_that_is_whole() {
        let syslog = Syslog { to: To::Socket(String::new()), host: "h".to_owned() };
        let line = |exe: &str, session: &str, statement: &str| {
            let mut record = Record::new(crate::audit::Event::Statement, std::sync::Arc::default());
            record.time = "2026-01-02T03:04:05.000006Z".to_owned();
            record.seq = 7;
            record.statement = Some(statement.to_owned());
            let mut json = serde_json::to_value(&record).unwrap();
            json["process"] =
                serde_json::to_value(crate::audit::Process { exe: exe.to_owned(), ..Default::default() }).unwrap();
            json["session"] = session.into();
            json.to_string()
        };
        let long = "\u{1}\"é".repeat(9000);
        for (exe, session, statement) in
            [(long.as_str(), "s", "select 1"), (&long, &long, &long), ("e", &long, "select 1"), ("e", "s", &long)]
        {
            let message = syslog.message(&line(exe, session, statement)).unwrap();
            assert!(message.len() <= MOST, "{}", message.len());
            let text = String::from_utf8(message).unwrap();
            let (_, json) = text.split_once('\u{feff}').unwrap();
            let record: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!((&record["seq"], &record["cut"]), (&7.into(), &true.into()));
        }
        // Around the length where it begins to be cut.
        let bare = syslog.message(&line("e", "s", "")).unwrap().len();
        for length in MOST - bare - 5..MOST - bare + 5 {
            let message = syslog.message(&line("e", "s", &"x".repeat(length))).unwrap();
            assert!(message.len() <= MOST, "{}", message.len());
        }
    }
}
