//! The scenarios and what is read off each run.

use super::{
    Options,
    place::{Place, Way, cpu, rss},
    table,
};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// One thing that is measured.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// pgbench's select, in one of its protocols, by so many clients; over TLS to the interceptor, plainly to the others.
    Transactions { mode: &'static str, clients: u32, tls: bool },
    /// The smallest statement there is, one after the other, each timed.
    PingPong,
    /// A connection for each statement.
    Connect,
    /// A query, or COPY, as psql runs it, of so many rows.
    Bulk { sql: &'static str, rows: u32, input: bool },
    /// Connections that do nothing.
    Idle,
}

const IDLE: u32 = 200;

pub(super) fn scenarios() -> Vec<(String, Work)> {
    let mut all = Vec::new();
    for clients in [1, 8, 32] {
        for mode in ["simple", "extended", "prepared"] {
            all.push((format!("tps_{mode}_c{clients}"), Work::Transactions { mode, clients, tls: false }));
        }
    }
    all.push(("tls_simple_c8".into(), Work::Transactions { mode: "simple", clients: 8, tls: true }));
    let bulk = |sql, rows| Work::Bulk { sql, rows, input: false };
    all.push(("pingpong".into(), Work::PingPong));
    all.push(("connect".into(), Work::Connect));
    all.push(("select_rows".into(), bulk("select * from rows", 400_000)));
    all.push(("select_plain".into(), bulk("select id, name, email from plain", 400_000)));
    all.push(("select_masked".into(), bulk("select id, name, email from masked", 400_000)));
    all.push(("select_wide".into(), bulk("select * from wide", 2000)));
    all.push(("copy_out".into(), bulk("copy rows to stdout", 400_000)));
    all.push(("copy_in".into(), Work::Bulk { sql: "copy sink from stdin", rows: 200_000, input: true }));
    all.push(("idle".into(), Work::Idle));
    all
}

/// What a run gives: a figure by its name.
pub(super) type Figures = BTreeMap<&'static str, f64>;

/// Figures of all rounds, by scenario and way.
pub(super) type Results = Vec<(String, BTreeMap<&'static str, Vec<Figures>>)>;

pub(super) fn run(options: &Options) -> Result<()> {
    let place = Place::set("")?;
    let folder = tempfile(&place)?;
    let mut results = Results::new();
    for (name, work) in scenarios() {
        if !options.only.is_empty() && !options.only.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            continue;
        }
        let mut by_way: BTreeMap<&'static str, Vec<Figures>> = BTreeMap::new();
        for round in 0..options.rounds.max(1) {
            let mut ways = Way::ALL;
            ways.rotate_left(round % Way::ALL.len());
            for way in ways {
                let figures = measure(&place, way, &work, options.seconds, Path::new(&folder))
                    .with_context(|| format!("{name}, {}", way.name()))?;
                by_way.entry(way.name()).or_default().push(figures);
            }
        }
        eprintln!("{name}: done");
        results.push((name, by_way));
    }
    drop(fs::remove_dir_all(&folder));
    println!("{}", table::show(&results, options));
    if let Some(file) = &options.json {
        let rounds: serde_json::Map<_, _> = results.iter().map(|(name, ways)| (name.clone(), json!(ways))).collect();
        fs::write(file, serde_json::to_string_pretty(&json!({"rounds": rounds}))?)?;
    }
    Ok(())
}

fn tempfile(place: &Place) -> Result<String> {
    let folder = std::env::temp_dir().join(format!("interceptor-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("ping.sql"), "select 1;\n")?;
    // What goes in is what has come out.
    let words = ["psql", "-qXAtc", "copy (select * from rows limit 200000) to stdout"].map(str::to_owned);
    let output = place.command(Way::Direct, &words)?.output()?;
    fs::write(folder.join("in.tsv"), output.stdout)?;
    Ok(folder.display().to_string())
}

fn measure(place: &Place, way: Way, work: &Work, seconds: u32, folder: &Path) -> Result<Figures> {
    let seconds = seconds.to_string();
    let ping = folder.join("ping.sql").display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let pgbench = place.pgbench();
    let before = place.middle(way).map(cpu);
    let spent = || place.middle(way).map(cpu).zip(before).map(|(after, before)| (after - before) as f64 / 1000.0);
    match work {
        Work::Transactions { mode, clients, tls } => {
            let clients = clients.to_string();
            let words = words(&[&pgbench, "-n", "-S", "-M", mode, "-c", &clients, "-T", &seconds]);
            let mut command = place.command(way, &words)?;
            if *tls && way == Way::Interceptor {
                command.env("PGSSLMODE", "require");
            }
            transactions(&output_of(&mut command)?, spent())
        }
        Work::PingPong => {
            let log = folder.join(format!("ping-{}", way.name()));
            let prefix = log.display().to_string();
            let said = output(
                place,
                way,
                &words(&[&pgbench, "-n", "-f", &ping, "-c", "1", "-T", &seconds, "-l", "--log-prefix", &prefix]),
            )?;
            let mut figures = transactions(&said, spent())?;
            let mut times = Vec::new();
            for entry in fs::read_dir(folder)?
                .flatten()
                .filter(|entry| entry.path().display().to_string().starts_with(&format!("{prefix}.")))
            {
                for line in BufReader::new(fs::File::open(entry.path())?).lines() {
                    times.extend(line?.split(' ').nth(2).and_then(|time| time.parse::<f64>().ok()));
                }
                fs::remove_file(entry.path())?;
            }
            times.sort_by(f64::total_cmp);
            let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
            figures.extend([("p50_us", at(50)), ("p99_us", at(99))]);
            Ok(figures)
        }
        Work::Connect => {
            let said = output(place, way, &words(&[&pgbench, "-n", "-C", "-f", &ping, "-c", "1", "-T", &seconds]))?;
            transactions(&said, spent())
        }
        Work::Bulk { sql, rows, input } => {
            let mut command = place.command(way, &words(&["psql", "-qXAt", "--set=FETCH_COUNT=0", "-c", sql]))?;
            if *input {
                let mut clean = place.command(Way::Direct, &words(&["psql", "-qXc", "truncate sink"]))?;
                clean.status()?;
                command.stdin(fs::File::open(folder.join("in.tsv"))?);
            }
            let since = Instant::now();
            let mut child = command.stdout(Stdio::piped()).spawn()?;
            let mut bytes = fs::metadata(folder.join("in.tsv"))?.len();
            if !input {
                bytes = 0;
                let mut stdout = child.stdout.take().context("it is piped")?;
                let mut buffer = vec![0; 1 << 20];
                loop {
                    match stdout.read(&mut buffer)? {
                        0 => break,
                        read => bytes += read as u64,
                    }
                }
            }
            if !child.wait()?.success() {
                bail!("psql failed");
            }
            let took = since.elapsed().as_secs_f64();
            let gigabytes = bytes as f64 / 1e9;
            let mut figures = Figures::from([("mb_s", gigabytes * 1000.0 / took), ("rows_s", f64::from(*rows) / took)]);
            figures.extend(spent().map(|spent| ("cpu_s_gb", spent / 1e6 / gigabytes)));
            Ok(figures)
        }
        Work::Idle => {
            let Some(middle) = place.middle(way) else { return Ok(Figures::new()) };
            let before = rss(middle);
            // They connect, say nothing for a while and go.
            let count = IDLE.to_string();
            let mut command = place.command(
                way,
                &words(&[
                    &pgbench,
                    "-n",
                    "-c",
                    &count,
                    "-j",
                    "1",
                    "-t",
                    "1",
                    "-f",
                    &folder.join("idle.sql").display().to_string(),
                ]),
            )?;
            fs::write(folder.join("idle.sql"), "\\sleep 4 s\nselect 1;\n")?;
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            std::thread::sleep(std::time::Duration::from_secs(4));
            let grown = rss(middle).saturating_sub(before);
            child.wait()?;
            Ok(Figures::from([("kb_conn", grown as f64 / f64::from(IDLE))]))
        }
    }
}

pub(super) fn output(place: &Place, way: Way, words: &[String]) -> Result<String> {
    output_of(&mut place.command(way, words)?)
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What pgbench says: transactions a second, and how many there were.
pub(super) fn transactions(said: &str, spent: Option<f64>) -> Result<Figures> {
    let number = |before: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(before))?;
        line.trim().split([' ', '/']).next()?.parse::<f64>().ok()
    };
    let tps = number("tps = ").with_context(|| format!("pgbench says no speed: {said}"))?;
    let count = number("number of transactions actually processed:").context("pgbench says no number")?;
    let mut figures = Figures::from([("tps", tps)]);
    figures.extend(spent.map(|spent| ("cpu_us", spent / count)));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::transactions;

    #[test]
    fn what_pgbench_says() {
        let said = "number of transactions actually processed: 2000/2000\nlatency average = 0.1 ms\ntps = 1000.5 (without initial connection time)\n";
        let figures = transactions(said, Some(4000.0)).unwrap();
        assert_eq!(figures.get("tps"), Some(&1000.5));
        assert_eq!(figures.get("cpu_us"), Some(&2.0));
        assert!(transactions("nothing", None).is_err());
    }
}
