//! Every order of opening packets, as a trace of what comes back (the idea of PostgreSQL's 005_negotiate_encryption.pl).

use crate::scripted::{Behaviour, Stage, message, startup};

const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
const READY: &str = "R(0) S K(4) Z(I)";

#[test]
fn opening_packets_in_every_order() {
    let stage = Stage::new(Behaviour::Friendly);
    let check = |pieces: &[&[u8]], expected: &str| assert_eq!(stage.trace(pieces), expected, "{pieces:?}");
    let hello = startup(0, &[("user", "a"), ("database", "d")]);

    check(&[&hello], READY);
    check(&[SSL, &hello], &format!("N {READY}"));
    check(&[GSS, &hello], &format!("N {READY}"));
    check(&[GSS, SSL, &hello], &format!("N N {READY}"));
    check(&[SSL, GSS, &hello], &format!("N N {READY}"));
    // After `N` the conversation goes on in clear text, so what came early is only early.
    check(&[&[SSL, &hello].concat()], &format!("N {READY}"));
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
    check(&[&startup(0, &[("user", "a\u{1b}[31m")])], "FATAL(08P01) end");
    check(&[&startup(0, &[("database", "d")])], "FATAL(28000) end");
    check(&[&startup(0, &[("user", "a"), ("replication", "true")])], "FATAL(42501) end");
    check(&[&startup(0, &[("user", "a"), ("search_path", "x")])], "FATAL(42501) end");
    check(&[&startup(0, &[("user", "a"), ("options", "-c role=x")])], "FATAL(42501) end");

    // Cancel requests are never answered, whatever they name.
    check(&[b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\0"], "end");
    check(&[b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\x07"], "FATAL(08P01) end");
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
    check(&message(b'F', b"x"), "ERROR(0A000) Z(I)");
    check(&message(b'p', b"x\0"), "FATAL(08P01) end");
    check(&message(b'!', b""), "FATAL(08P01) end");
    check(b"Q\0\0\0\x03", "FATAL(08P01) end");
    check(b"Q\x7f\xff\xff\xff", "FATAL(08P01) end");
    check(&message(b'X', b""), "end");
    check(SSL, "FATAL(08P01) end");
}
