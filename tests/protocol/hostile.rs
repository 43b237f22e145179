//! A server that is not what it should be: no credential leaves, no byte that nobody asked for passes, the session ends.

use crate::scripted::{Behaviour, Stage, message, startup};

fn hello() -> Vec<u8> {
    startup(0, &[("user", "a"), ("database", "d")])
}

#[track_caller]
fn at_login(says: &'static [u8], expected: &str) {
    let stage = Stage::new(Behaviour::Says(says));
    assert_eq!(stage.trace(&[&hello()]), expected);
}

#[test]
fn at_log_in() {
    // Clear text, MD5, an unknown mechanism, an unknown kind: the password is not given away.
    at_login(b"R\0\0\0\x08\0\0\0\x03", "FATAL(08006) end");
    at_login(b"R\0\0\0\x0c\0\0\0\x05salt", "FATAL(08006) end");
    at_login(b"R\0\0\0\x0d\0\0\0\x0aPLAIN\0\0", "FATAL(08006) end");
    at_login(b"R\0\0\0\x08\0\0\0\x63", "FATAL(08006) end");
    // Iterations that would take minutes; a challenge that is none.
    at_login(
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0R\0\0\0\x20\0\0\0\x0br=x,s=eA==,i=2147483647!",
        "FATAL(08006) end",
    );
    at_login(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0R\0\0\0\x0d\0\0\0\x0bnoise", "FATAL(08006) end");
    // Its own words are not passed on before it has proved anything.
    at_login(b"E\0\0\0\x1cSFATAL\0C28P01\0Mgo away\0\0", "FATAL(08006) end");
    at_login(b"HTTP/1.1 400 Bad Request\r\n\r\n", "FATAL(08006) end");
    at_login(b"R\0\0\0\x03", "FATAL(08006) end");
    // Encodings that would make other bytes of what was judged.
    at_login(b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19client_encoding\0SJIS\0Z\0\0\0\x05I", "FATAL(08006) end");
    // It hangs.
    at_login(b"", "FATAL(57P03) end");
}

#[track_caller]
fn at_tls(says: &'static [u8], expected: &str) {
    for mode in ["verify-full", "require"] {
        let stage = Stage::asking(Behaviour::Says(says), mode);
        assert_eq!(stage.trace(&[&hello()]), expected, "{mode}: {says:?}");
        let refusals = stage.refusals();
        assert!(!refusals.is_empty() && !refusals.contains("go away"), "{refusals}");
    }
}

#[test]
fn at_a_request_for_tls() {
    // No means no: there is no clear text instead.
    at_tls(b"N", "FATAL(08006) end");
    at_tls(b"NR\0\0\0\x08\0\0\0\0", "FATAL(08006) end");
    // An error in place of an answer is nobody's words (CVE-2024-10977).
    at_tls(b"E\0\0\0\x1cSFATAL\0C28P01\0Mgo away\0\0", "FATAL(08006) end");
    at_tls(b"R\0\0\0\x08\0\0\0\0", "FATAL(08006) end");
    // What is stuffed behind the yes is taken for the handshake that it is not (CVE-2021-23222).
    at_tls(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", "FATAL(08006) end");
    at_tls(b"S\x15\x03\x03\0\x02\x02\x28", "FATAL(08006) end");
    // It hangs, before and within.
    at_tls(b"", "FATAL(57P03) end");
    at_tls(b"S", "FATAL(57P03) end");
}

#[test]
fn what_is_not_there_is_said_to_be_unavailable() {
    let stage = Stage::new(Behaviour::Absent);
    assert_eq!(stage.trace(&[&hello()]), "FATAL(57P03) end");
    let stage = Stage::new(Behaviour::Friendly).without_issuer();
    assert_eq!(stage.trace(&[&hello()]), "FATAL(57P03) end");
}

#[track_caller]
fn at_query(answers: &'static [u8], expected: &str) {
    let stage = Stage::new(Behaviour::Answers(answers));
    let said = stage.trace(&[&hello(), &message(b'Q', b"select 1\0")]);
    assert_eq!(said, format!("R(0) S K(4) Z(I) {expected}").trim_end());
}

#[test]
fn at_a_query() {
    // Messages that belong to nothing: authentication, a key, another COPY direction, a function's result.
    at_query(b"R\0\0\0\x08\0\0\0\x03", "FATAL(08006) end");
    at_query(b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x01", "FATAL(08006) end");
    at_query(b"G\0\0\0\x07\0\0\0", "FATAL(08006) end");
    at_query(b"W\0\0\0\x07\0\0\0", "FATAL(08006) end");
    at_query(b"V\0\0\0\x08\0\0\0\0", "FATAL(08006) end");
    at_query(b"1\0\0\0\x04", "FATAL(08006) end");
    // More results than were asked for.
    at_query(b"C\0\0\0\x0dSELECT 1\0C\0\0\0\x0dSELECT 1\0", "C FATAL(08006) end");
    // Lengths that cannot be, shapes that do not add up.
    at_query(b"T\0\0\0\x03", "FATAL(08006) end");
    at_query(b"T\0\0\0\x06\0\x05", "FATAL(08006) end");
    at_query(b"T\0\0\0\x06\xff\xff", "FATAL(08006) end");
    at_query(b"C\xff\xff\xff\xff", "FATAL(08006) end");
    at_query(b"Z\0\0\0\x05Q", "FATAL(08006) end");
    // Rows that are not as they were described, or were not described at all, or have no end.
    const ONE: &[u8] = b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let one = |rest: &[u8]| -> &'static [u8] { Box::leak([ONE, rest].concat().into_boxed_slice()) };
    at_query(one(b"D\0\0\0\x0b\0\x01\0\0\0\x01xC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"), "T D C Z(I)");
    at_query(one(b"D\0\0\0\x10\0\x02\0\0\0\x01x\0\0\0\x01y"), "T FATAL(08006) end");
    at_query(one(b"D\0\0\0\x0a\0\x01\xff\xff\xff\xfe"), "T FATAL(08006) end");
    at_query(one(b"D\0\0\0\x0b\0\x01\0\0\0\x09x"), "T FATAL(08006) end");
    at_query(one(b"D\x7f\xff\xff\xf0"), "T FATAL(08006) end");
    at_query(b"D\0\0\0\x06\0\0", "FATAL(08006) end");
    // It changes behind our back what bytes mean.
    at_query(b"S\0\0\0\x24standard_conforming_strings\0off\0", "FATAL(08006) end");
    // Nobody can change this one, and so it says something else by it.
    at_query(b"S\0\0\0\x17application_name\0x\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I", "C Z(I)");
    // An error without a code passes; what follows it still has to fit.
    at_query(b"E\0\0\0\x0dMbroken\0\0Z\0\0\0\x05I", "() Z(I)");
}
