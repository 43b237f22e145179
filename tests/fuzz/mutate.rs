//! Fuzzing the protocol without a fuzzing engine: inputs of the corpus, changed at random, handed to each target of
//! `interceptor_tests::fuzz`. It runs on any compiler and needs nothing; without coverage to guide it, it is worth its
//! seconds for what the targets check, not for how it searches. `tests/fuzz/libfuzzer` has the engine.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

use interceptor_tests::fuzz::{self, TARGETS};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// As long as `INTERCEPTOR_TEST_FUZZ_SECONDS` says, from `INTERCEPTOR_TEST_FUZZ_SEED`; some seconds without.
#[test]
fn the_protocol_holds() {
    let variable = |name: &str| std::env::var(format!("INTERCEPTOR_TEST_FUZZ_{name}")).ok();
    let seconds: u64 = variable("SECONDS").map_or(10, |text| text.parse().unwrap());
    let seed = variable("SEED").map_or_else(rand::random, |text| text.parse::<u64>().unwrap());
    println!("seed {seed}: {seconds} s");
    let each = Duration::from_secs(seconds) / (TARGETS.len() as u32 + 1);
    for (name, target) in TARGETS {
        // The conversation has the most to say.
        let time = if name == "session" { each * 2 } else { each };
        let count = fuzz_one(name, target, seed, time);
        println!("{name}: {count} inputs");
        assert!(count > 100, "{name}: {count} inputs only");
    }
    let fuzz::Summary { sessions, hostile, ended, messages, refusals } = fuzz::summary();
    println!(
        "{sessions} sessions ({hostile} with a server that says anything, {ended} ended early), {messages} messages, {refusals} errors"
    );
    assert!(ended < sessions / 2 && refusals > sessions / 4, "most sessions end before they come to anything");
}

/// What has once failed, and what a corpus is for: each input by itself.
#[test]
fn the_corpus_holds() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.len() > 5, "the corpus of {name} has {} inputs", corpus.len());
        corpus.iter().for_each(|input| target(input));
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn fuzz_one(name: &str, target: fn(&[u8]), seed: u64, time: Duration) -> u64 {
    let (corpus, mut random) = (corpus(name), StdRng::seed_from_u64(seed));
    let (until, mut count) = (Instant::now() + time, 0);
    while Instant::now() < until {
        let input = mutate(&corpus, &mut random);
        count += 1;
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let input = shrink(input, target);
            let file = std::env::temp_dir().join(format!("interceptor-fuzz-{name}-{seed}"));
            std::fs::write(&file, &input).unwrap();
            panic!(
                "seed {seed}: input {count} of {name} fails; `{}` has what is left of it:\n{}",
                file.display(),
                input.escape_ascii()
            );
        }
    }
    count
}

/// Takes away what the failure does not need.
fn shrink(mut input: Vec<u8>, target: fn(&[u8])) -> Vec<u8> {
    // Each attempt fails as loudly as the first; nobody needs to read them.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut less = input.clone();
            less.drain(at..(at + size).min(less.len()));
            if catch_unwind(AssertUnwindSafe(|| target(&less))).is_err() {
                input = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    std::panic::set_hook(hook);
    input
}

/// One of the corpus with some bytes changed, moved, doubled, or come from another one; or noise.
fn mutate(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, 8) {
        return (0..random.random_range(0..400)).map(|_| random.random()).collect();
    }
    let pick = |random: &mut StdRng| corpus[random.random_range(0..corpus.len())].clone();
    let mut input = pick(random);
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] = random.random(),
            1 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            2 => input.insert(at, random.random()),
            3 if at < input.len() => drop(input.remove(at)),
            4 => input.truncate(at),
            5 => {
                let other = pick(random);
                let from = random.random_range(0..=other.len());
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let to = random.random_range(at..=input.len());
                let again = input[at..to].to_vec();
                input.splice(at..at, again);
            }
        }
        input.truncate(4096);
    }
    input
}
