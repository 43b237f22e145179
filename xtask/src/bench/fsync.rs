//! The same work under each way of forcing the record to the disk: one installation for each, in turn, so that whatever else the
//! machine and its disk do disturbs all of them alike.

use super::{
    Options,
    path::{Figures, output, transactions},
    place::{Place, Way, cpu},
};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

const POLICIES: [&str; 3] = ["each", "group", "os"];
const CLIENTS: [u32; 3] = [1, 8, 32];

pub(super) fn run(options: &Options) -> Result<()> {
    let places = POLICIES.map(|policy| Place::set(&format!("[audit]\nfsync = \"{policy}\"\n")));
    let places = places.into_iter().collect::<Result<Vec<_>>>()?;
    let mut found: BTreeMap<(u32, usize), Vec<Figures>> = BTreeMap::new();
    for round in 0..options.rounds.max(1) {
        for clients in CLIENTS {
            for step in 0..places.len() {
                let at = (round + step) % places.len();
                let place = places.get(at).context("as many as there are policies")?;
                let figures = transact(place, clients, options.seconds)
                    .with_context(|| format!("{}, {clients} clients", POLICIES.get(at).copied().unwrap_or_default()))?;
                found.entry((clients, at)).or_default().push(figures);
            }
        }
    }
    println!("Medians of {} rounds of {} s, everything on one CPU.\n", options.rounds, options.seconds);
    println!(
        "| clients | `each` | `group` | `os` | CPU `each` | CPU `group` | CPU `os` |\n|---|---|---|---|---|---|---|"
    );
    for clients in CLIENTS {
        let median = |at: usize, name: &str| {
            let rounds = found.get(&(clients, at)).into_iter().flatten();
            let mut values: Vec<f64> = rounds.filter_map(|figures| figures.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let speeds = (0..places.len()).map(|at| format!("{:.0} /s", median(at, "tps")));
        let costs = (0..places.len()).map(|at| format!("{:.1} us", median(at, "cpu_us")));
        println!("| {clients} | {} |", speeds.chain(costs).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

/// pgbench's select, prepared: the statement that takes least, so that the record takes most.
fn transact(place: &Place, clients: u32, seconds: u32) -> Result<Figures> {
    let before = place.middle(Way::Interceptor).map(cpu);
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let pgbench = place.pgbench();
    let words = [pgbench.as_str(), "-n", "-S", "-M", "prepared", "-c", &clients, "-T", &seconds];
    let said = output(place, Way::Interceptor, &words.map(str::to_owned))?;
    let spent = place.middle(Way::Interceptor).map(cpu).zip(before);
    transactions(&said, spent.map(|(after, before)| (after - before) as f64 / 1000.0))
}
