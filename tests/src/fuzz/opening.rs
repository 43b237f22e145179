//! Start-up packets: what is read is what was sent, and is read in one way only.

use interceptor::wire::{Opening, cancel_request, decode_opening, opening_length, ssl_request, startup_message};

pub(super) fn opening(data: &[u8]) {
    let Ok(Some(length)) = opening_length(data) else { return };
    assert!((8..=10_000).contains(&length), "PostgreSQL takes no packet of {length} bytes");
    let Some(packet) = data.get(..length) else { return };
    match decode_opening(packet) {
        Ok(Opening::Ssl) => assert_eq!(packet, ssl_request()),
        Ok(Opening::GssEnc) => assert_eq!(packet.len(), 8),
        Ok(Opening::Cancel { pid, secret }) => assert_eq!(packet, cancel_request(pid, &secret)),
        Ok(Opening::Startup(startup)) => {
            let parameters = startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let again = startup_message(parameters);
            match decode_opening(&again) {
                Ok(Opening::Startup(read)) => assert_eq!(read.parameters, startup.parameters),
                other => panic!("what was read as {startup:?} is read as {other:?} when it is sent on"),
            }
            if startup.options.is_empty() && startup.minor == 0 {
                assert_eq!(packet, again, "other bytes have the same meaning");
            }
        }
        Err(_) => {}
    }
    // Leftovers are where two parsers disagree; the key of a cancel request alone has no length of its own.
    let longer = [packet, b"x"].concat();
    if let Ok(read) = decode_opening(&longer) {
        assert!(matches!(read, Opening::Cancel { .. }), "{read:?} with a byte too many");
    }
}
