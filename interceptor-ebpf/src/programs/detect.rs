//! Does this socket speak PostgreSQL? A machine that reads one byte at a time, so that it does not matter how what is sent
//! was cut into packets (see [`interceptor_ebpf::Stream`]).
//!
//! The machine lives in the socket's storage and is read and written there by volatile access, and the rounds are those of
//! `bpf_loop`: so the verifier looks at one of them, and not at each with every value that the one before can have left.

use core::{
    ffi::c_void,
    ptr::{addr_of, addr_of_mut, read_volatile, write_volatile},
};

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_loop, programs::SkBuffContext};
use interceptor_ebpf::{Stream, stage};

/// What was heard.
pub(crate) enum Heard {
    /// Nothing, yet or at all.
    Nothing,
    /// It is PostgreSQL, since this packet.
    Postgres,
    /// It is, and an earlier packet has said so.
    PostgresBefore,
}

const SYN_FLAG: u8 = 0x02;
/// Bytes that are looked at in one packet; a ClientHello has some hundred that matter. One that needs more hides something.
const ROUNDS: u32 = 400;
/// `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL.
const LONGEST_STARTUP: u32 = 10_000;
/// `content type handshake` of RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// `application_layer_protocol_negotiation` of RFC 7301.
const ALPN: u32 = 16;
/// Bytes of `postgresql`.
const NAME_BYTES: u32 = 10;

macro_rules! get {
    ($stream:ident.$field:ident) => {
        // SAFETY: storage of a socket that the packet holds.
        unsafe { read_volatile(addr_of!((*$stream).$field)) }
    };
}
macro_rules! set {
    ($stream:ident.$field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: as above; packets of one socket go out one after another.
        unsafe { write_volatile(addr_of_mut!((*$stream).$field), value) }
    }};
}

/// Reads what the packet adds. `at` is where its TCP header begins.
#[inline(always)]
pub(crate) fn hear(context: &SkBuffContext, at: usize, stream: *mut Stream) -> Heard {
    match get!(stream.stage) {
        stage::OTHER => return Heard::Nothing,
        stage::FOUND => return Heard::PostgresBefore,
        _ => {}
    }
    // RFC 9293: ports | sequence number | acknowledgement | header length, flags.
    let (Ok(sequence), Ok([length, flags])) = (context.load::<u32>(at + 4), context.load::<[u8; 2]>(at + 12)) else {
        return Heard::Nothing;
    };
    let mut sequence = u32::from_be(sequence);
    if flags & SYN_FLAG != 0 {
        // The SYN has a number of its own; with Fast Open there are bytes behind it.
        sequence = sequence.wrapping_add(1);
        if get!(stream.stage) == stage::SYN {
            set!(stream.first = sequence);
            set!(stream.stage = stage::FIRST);
        }
    }
    if get!(stream.stage) == stage::SYN {
        // Connected before it was watched.
        set!(stream.stage = stage::OTHER);
        return Heard::Nothing;
    }
    let payload = at as u32 + u32::from(length >> 4) * 4;
    // Where in this packet the byte is that is due; what was sent before is passed over.
    let start = payload.wrapping_add(get!(stream.first).wrapping_add(get!(stream.next)).wrapping_sub(sequence));
    if start < payload || start >= context.len() {
        return Heard::Nothing;
    }
    set!(stream.place = start);
    set!(stream.end = context.len());
    let mut around = Around { context: context.skb.skb, stream };
    let callback: unsafe extern "C" fn(u32, *mut Around) -> i64 = round;
    // SAFETY: the callback is of the shape that the helper calls, and what it is given outlives the call.
    unsafe { bpf_loop(ROUNDS, callback as *mut c_void, addr_of_mut!(around).cast(), 0) };
    match get!(stream.stage) {
        stage::OTHER => return Heard::Nothing,
        stage::FOUND => return Heard::Postgres,
        _ => {}
    }
    if get!(stream.place) >= get!(stream.end) {
        return Heard::Nothing;
    }
    // A ClientHello of hundreds of extensions: nobody sends one but to tire us.
    set!(stream.stage = stage::FOUND);
    Heard::Postgres
}

/// What a round is given.
#[repr(C)]
struct Around {
    context: *mut __sk_buff,
    stream: *mut Stream,
}

/// One round: a byte, or some that are passed over. 1 ends the loop.
unsafe extern "C" fn round(_number: u32, around: *mut Around) -> i64 {
    // SAFETY: `hear` has just made it.
    let (context, stream) = unsafe { (SkBuffContext::new((*around).context), (*around).stream) };
    let (place, end) = (get!(stream.place), get!(stream.end));
    if place >= end {
        return 1;
    }
    let read = step(&context, place, end - place, stream);
    set!(stream.place = place.wrapping_add(read));
    set!(stream.next = get!(stream.next).wrapping_add(read));
    matches!(get!(stream.stage), stage::OTHER | stage::FOUND).into()
}

/// The header of a TLS record is being read: so many bytes of it (from bit 16) and the length as far as it is known.
const HEADER: u32 = 1 << 31;

/// Reads a byte, or passes over some; says how many.
#[inline(always)]
fn step(context: &SkBuffContext, place: u32, left: u32, stream: *mut Stream) -> u32 {
    let now = get!(stream.stage);
    let record = get!(stream.record);
    let in_tls = now & !stage::SKIP >= stage::HELLO;
    if in_tls && record & HEADER == 0 && now & stage::SKIP != 0 {
        let mut passed = get!(stream.need);
        if passed > record {
            passed = record;
        }
        if passed > left {
            passed = left;
        }
        set!(stream.need = get!(stream.need).wrapping_sub(passed));
        consume(stream, record, passed);
        if get!(stream.need) == 0 {
            enter(stream, now & !stage::SKIP);
        }
        return passed;
    }
    let Ok(byte) = context.load::<u8>(place as usize) else {
        set!(stream.stage = stage::OTHER);
        return 0;
    };
    if in_tls && record & HEADER != 0 {
        header(stream, record, byte);
        return 1;
    }
    if in_tls {
        consume(stream, record, 1);
    }
    match now {
        stage::FIRST if byte == HANDSHAKE => {
            set!(stream.record = HEADER | 1 << 16);
            enter(stream, stage::HELLO);
        }
        stage::FIRST => {
            set!(stream.stage = stage::LENGTH);
            set!(stream.value = u32::from(byte));
            set!(stream.need = 3);
        }
        stage::LETTERS => letter(stream, byte),
        _ => {
            let value = get!(stream.value) << 8 | u32::from(byte);
            let need = get!(stream.need).wrapping_sub(1);
            set!(stream.value = value);
            set!(stream.need = need);
            if need == 0 {
                number(stream, now, value);
            }
        }
    }
    1
}

/// A byte of the header of a TLS record: type, version, length (RFC 8446, 5.1).
#[inline(always)]
fn header(stream: *mut Stream, record: u32, byte: u8) {
    let length = record & 0xffff;
    match record >> 16 & 0xf {
        0 if byte != HANDSHAKE => set!(stream.stage = stage::OTHER),
        read @ 0..=2 => set!(stream.record = HEADER | (read + 1) << 16),
        3 => set!(stream.record = HEADER | 4 << 16 | u32::from(byte)),
        _ => set!(stream.record = length << 8 | u32::from(byte)),
    }
    // An empty record would have us go round in it.
    if get!(stream.record) == 0 {
        set!(stream.stage = stage::OTHER);
    }
}

/// So many bytes of the record less; behind its end comes the next one's header.
#[inline(always)]
fn consume(stream: *mut Stream, record: u32, bytes: u32) {
    let left = record.wrapping_sub(bytes);
    set!(stream.record = if left == 0 { HEADER } else { left });
}

/// Begins to read a number, or a name of ten bytes.
#[inline(always)]
fn enter(stream: *mut Stream, next: u32) {
    let bytes = match next {
        stage::CODE | stage::EXTENSION => 4,
        stage::CIPHERS | stage::EXTENSIONS | stage::PROTOCOLS => 2,
        stage::LETTERS => NAME_BYTES,
        _ => 1,
    };
    set!(stream.stage = next);
    set!(stream.value = 0);
    set!(stream.need = bytes);
}

#[inline(always)]
fn pass_over(stream: *mut Stream, bytes: u32, next: u32) {
    if bytes == 0 {
        enter(stream, next);
    } else {
        set!(stream.stage = next | stage::SKIP);
        set!(stream.need = bytes);
    }
}

/// A number has been read (RFC 8446, 4.1.2 and 4.2).
#[inline(always)]
fn number(stream: *mut Stream, now: u32, value: u32) {
    /// Length, version and random bytes.
    const BEFORE_SESSION: u32 = 3 + 2 + 32;
    match now {
        stage::LENGTH if (8..=LONGEST_STARTUP).contains(&value) => enter(stream, stage::CODE),
        stage::CODE if value >> 16 == 3 || matches!(value, 80_877_102..=80_877_104) => {
            set!(stream.stage = stage::FOUND);
        }
        stage::HELLO if value == u32::from(CLIENT_HELLO) => pass_over(stream, BEFORE_SESSION, stage::SESSION),
        stage::SESSION => pass_over(stream, value, stage::CIPHERS),
        stage::CIPHERS => pass_over(stream, value, stage::COMPRESSIONS),
        stage::COMPRESSIONS => pass_over(stream, value, stage::EXTENSIONS),
        stage::EXTENSIONS => {
            set!(stream.list = value);
            enter(stream, stage::EXTENSION);
        }
        stage::EXTENSION => {
            let (kind, length) = (value >> 16, value & 0xffff);
            let list = get!(stream.list);
            if kind == ALPN {
                enter(stream, stage::PROTOCOLS);
            } else if list <= 4 + length {
                set!(stream.stage = stage::OTHER);
            } else {
                set!(stream.list = list - 4 - length);
                pass_over(stream, length, stage::EXTENSION);
            }
        }
        stage::PROTOCOLS => {
            set!(stream.list = value);
            enter(stream, stage::NAME);
        }
        stage::NAME => {
            let list = get!(stream.list).saturating_sub(1 + value);
            set!(stream.list = list);
            if value == NAME_BYTES {
                enter(stream, stage::LETTERS);
            } else if list == 0 {
                set!(stream.stage = stage::OTHER);
            } else {
                pass_over(stream, value, stage::NAME);
            }
        }
        _ => set!(stream.stage = stage::OTHER),
    }
}

/// A letter of a name of the right length. `value` counts those that are wrong.
#[inline(always)]
fn letter(stream: *mut Stream, byte: u8) {
    let need = get!(stream.need);
    let expected = match need {
        10 => b'p',
        9 => b'o',
        8 | 3 => b's',
        7 => b't',
        6 => b'g',
        5 => b'r',
        4 => b'e',
        2 => b'q',
        _ => b'l',
    };
    if byte != expected {
        set!(stream.value = get!(stream.value) + 1);
    }
    set!(stream.need = need.wrapping_sub(1));
    if need == 1 {
        match (get!(stream.value), get!(stream.list)) {
            (0, _) => set!(stream.stage = stage::FOUND),
            (_, 0) => set!(stream.stage = stage::OTHER),
            _ => enter(stream, stage::NAME),
        }
    }
}
