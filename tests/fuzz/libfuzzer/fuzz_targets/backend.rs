#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| interceptor_tests::fuzz::run("backend", data));
