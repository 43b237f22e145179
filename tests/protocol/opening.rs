//! Every order of opening packets, as a trace of what comes back (the idea of PostgreSQL's 005_negotiate_encryption.pl).

use crate::scripted::{Behaviour, Stage, Step, message, startup};

const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
const READY: &str = "R(0) S K(4) Z(I)";

#[test]
fn opening_packets_in_clear_text() {
    let stage = Stage::in_clear_text(Behaviour::Friendly);
    let check = |pieces: &[&[u8]], expected: &str| assert_eq!(stage.trace(pieces), expected, "{pieces:?}");
    let hello = startup(0, &[("user", "a"), ("database", "d")]);

    check(&[&hello], READY);
    check(&[SSL, &hello], &format!("N {READY}"));
    check(&[GSS, &hello], &format!("N {READY}"));
    check(&[GSS, SSL, &hello], &format!("N N {READY}"));
    check(&[SSL, GSS, &hello], &format!("N N {READY}"));
    // Whoever sends more before there is an answer does not care what it is.
    check(&[&[SSL, &hello].concat()], "FATAL(08P01) end");
    check(&[&[GSS, SSL].concat()], "FATAL(08P01) end");
    // A TLS handshake is no start-up packet.
    check(&[b"\x16\x03\x01\0\x05\x01\0\0\x01\0"], "end");
    check(&[SSL, SSL], "N FATAL(08P01) end");
    check(&[GSS, SSL, GSS], "N N FATAL(08P01) end");

    // One byte at a time.
    let bytes: Vec<&[u8]> = hello.chunks(1).collect();
    check(&bytes, READY);

    // 3.2 gets a long key; what is newer is negotiated down, once; options that nobody knows are named.
    check(&[&startup(2, &[("user", "a")])], "R(0) S K(32) Z(I)");
    check(&[&startup(9999, &[("user", "a")])], "v(2) R(0) S K(32) Z(I)");
    check(&[&startup(0, &[("user", "a"), ("_pq_.test", "1")])], &format!("v(0) {READY}"));

    // What is no start-up packet.
    check(&[b"\0\0\0\x04"], "end");
    check(&[b"\x7f\xff\xff\xff\0\x03\0\0"], "end");
    check(&[b"GET / HTTP/1.1\r\n\r\n"], "end");
    check(&[&[0, 0, 0, 8, 0, 2, 0, 0]], "FATAL(0A000) end");
    check(&[b"\0\0\0\x0d\0\x03\0\0user\0"], "FATAL(08P01) end");
    check(&[&startup(0, &[("user", "a"), ("user", "b")])], "FATAL(08P01) end");
    // Roles that nobody can have, as the server says it.
    check(&[&startup(0, &[("user", "a\u{1b}[31m")])], "FATAL(28000) end");
    check(&[&startup(0, &[("user", &"a".repeat(64))])], "FATAL(28000) end");
    check(&[&startup(0, &[("user", "a"), ("database", "d\u{1b}[31m")])], "FATAL(08P01) end");
    check(&[&startup(0, &[("database", "d")])], "FATAL(28000) end");
    check(&[&startup(0, &[("user", "a"), ("replication", "true")])], "FATAL(42501) end");
    check(&[&startup(0, &[("user", "a"), ("search_path", "x")])], "FATAL(42501) end");
    check(&[&startup(0, &[("user", "a"), ("options", "-c role=x")])], "FATAL(42501) end");

    // Cancel requests are never answered, whatever they name.
    check(&[b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\0"], "end");
    check(&[b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\x07"], "FATAL(08P01) end");
}

/// Every order of requests, handshakes and what follows; `sslmode` in the comments is libpq's.
#[test]
fn opening_packets_in_every_order() {
    let stage = Stage::new(Behaviour::Friendly);
    let hello = startup(0, &[("user", "a"), ("database", "d")]);
    let cancel: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\0";
    let step = |word: &str| match word {
        "ssl" => Some(SSL),
        "gss" => Some(GSS),
        "hello" => Some(&hello[..]),
        "cancel" => Some(cancel),
        "half" => Some(&hello[..9]),
        "noise" => Some(&b"GET / HTTP/1.1\r\n\r\n"[..]),
        _ => None,
    };
    // `+` joins what goes into one segment.
    let check = |script: &str, expected: &str| {
        let words: Vec<_> = script.split(' ').collect();
        let bytes: Vec<Option<Vec<u8>>> = words
            .iter()
            .map(|word| word.split('+').map(step).collect::<Option<Vec<_>>>().map(|parts| parts.concat()))
            .collect();
        let steps = words.iter().zip(&bytes).map(|(word, bytes)| match (*word, bytes.as_deref()) {
            (_, Some(bytes)) => Step::Send(bytes),
            ("tls", None) => Step::Tls { alpn: &[] },
            ("tls(postgresql)", None) => Step::Tls { alpn: &["postgresql"] },
            ("tls(http/1.1)", None) => Step::Tls { alpn: &["http/1.1"] },
            ("tls(both)", None) => Step::Tls { alpn: &["http/1.1", "postgresql"] },
            (word, None) => panic!("{word}"),
        });
        let said = stage.talk(&steps.collect::<Vec<_>>());
        assert_eq!(said.replace(READY, "ready"), expected, "{script}");
    };

    // disable, and allow in its first try
    check("hello", "ready");
    check("gss hello", "N ready");
    // prefer, require, verify-ca, verify-full: version 17 names the protocol, earlier ones do not
    check("ssl tls hello", "S tls ready");
    check("ssl tls(postgresql) hello", "S tls ready");
    check("gss ssl tls hello", "N S tls ready");
    check("ssl tls cancel", "S tls end");
    check("cancel", "end");
    check("gss cancel", "N end");
    // sslnegotiation=direct
    check("tls(postgresql) hello", "tls ready");
    check("tls(both) hello", "tls ready");
    check("tls(postgresql) cancel", "tls end");
    // Direct without the protocol's name, or with another: that may be a browser.
    check("tls hello", "tls cut");
    check("tls cancel", "tls cut");
    check("tls(http/1.1) hello", "received fatal alert: NoApplicationProtocol");
    check("ssl tls(http/1.1) hello", "S received fatal alert: NoApplicationProtocol");
    // Direct only where nothing came before.
    check("gss tls(postgresql) hello", "N end");

    // Each once, and nothing once there is TLS.
    check("gss gss hello", "N FATAL(08P01) end");
    check("gss gss ssl", "N FATAL(08P01) end");
    check("ssl tls ssl", "S tls FATAL(08P01) end");
    check("ssl tls gss hello", "S tls FATAL(08P01) end");
    check("tls(postgresql) ssl", "tls FATAL(08P01) end");
    check("tls(postgresql) gss hello", "tls FATAL(08P01) end");
    check("gss ssl tls gss", "N S tls FATAL(08P01) end");

    // Stuffed behind a request, in the same segment.
    check("ssl+hello", "FATAL(08P01) end");
    check("ssl+half", "FATAL(08P01) end");
    check("ssl+ssl", "FATAL(08P01) end");
    check("ssl+cancel", "FATAL(08P01) end");
    check("gss+hello", "FATAL(08P01) end");
    check("gss+ssl", "FATAL(08P01) end");
    check("gss ssl+hello", "N FATAL(08P01) end");
    // In the next one it is no handshake: an alert, and nothing of it is taken for a start-up.
    for script in ["ssl hello", "ssl ssl", "ssl gss", "ssl cancel", "ssl noise", "gss ssl hello"] {
        let words: Vec<_> = script.split(' ').map(|word| Step::Send(step(word).unwrap())).collect();
        let said = stage.talk(&words);
        assert!(!said.contains("R(") && !said.contains("FATAL") && said.ends_with("end"), "{script}: {said}");
    }

    // Within TLS as without it.
    check("ssl tls half hello", "S tls FATAL(08P01) end");
    check("ssl tls noise", "S tls cut");
    check("noise", "end");
    check("half", "end");
}

#[test]
fn sessions_within_tls() {
    let stage = Stage::new(Behaviour::Friendly);
    let hello = startup(0, &[("user", "a"), ("database", "d")]);
    let check = |messages: &[&[u8]], expected: &str| {
        let mut steps = vec![Step::Send(SSL), Step::Tls { alpn: &["postgresql"] }, Step::Send(&hello)];
        steps.extend(messages.iter().map(|message| Step::Send(message)));
        assert_eq!(stage.talk(&steps), format!("S tls {READY} {expected}"), "{messages:?}");
    };
    check(&[&message(b'Q', b"select 1\0")], "T C Z(I)");
    check(&[&message(b'Q', b"select 1\0"), &message(b'X', b"")], "T C Z(I) end");
    check(&[&message(b'X', b"")], "end");
    check(&[&message(b'!', b"")], "FATAL(08P01) end");
    check(&[SSL], "FATAL(08P01) end");
    // Many records each way: nothing may stay behind in a buffer.
    let long = format!("select '{}'\0", "x".repeat(3 << 20));
    check(&[&message(b'Q', long.as_bytes())], "T C Z(I)");
}

#[test]
fn who_says_nothing_is_let_go() {
    let stage = Stage::new(Behaviour::Friendly);
    assert_eq!(stage.trace(&[]), "end");
    assert_eq!(stage.trace(&[b"\0\0"]), "end");
}

#[test]
fn messages_after_log_in() {
    let stage = Stage::new(Behaviour::Friendly);
    let hello = startup(0, &[("user", "a"), ("database", "d")]);
    let check = |piece: &[u8], expected: &str| {
        assert_eq!(stage.trace(&[&hello, piece]), format!("{READY} {expected}"), "{piece:?}")
    };
    check(&message(b'Q', b"select 1\0"), "T C Z(I)");
    check(&message(b'Q', b"select 1"), "FATAL(08P01) end");
    check(&message(b'Q', b"select 1\0x"), "FATAL(08P01) end");
    check(&message(b'F', b"\0\0\x06\x3e\0\0\0\0\0\0"), "ERROR(0A000) Z(I)");
    check(&message(b'F', b"x"), "FATAL(08P01) end");
    check(&message(b'p', b"x\0"), "FATAL(08P01) end");
    check(&message(b'!', b""), "FATAL(08P01) end");
    check(b"Q\0\0\0\x03", "FATAL(08P01) end");
    check(b"Q\x7f\xff\xff\xff", "FATAL(08P01) end");
    check(&message(b'X', b""), "end");
    check(SSL, "FATAL(08P01) end");
}
