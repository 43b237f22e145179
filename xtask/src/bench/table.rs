//! The figures as a page of Markdown.

use super::{
    Options,
    path::{Figures, Results},
    place::Way,
};
use std::fmt::Write;

/// The middle one of several.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn figure(rounds: &[Figures], name: &str) -> Option<f64> {
    median(rounds.iter().filter_map(|figures| figures.get(name).copied()).collect())
}

/// Ratios to direct within the same round; the middle one.
fn ratio(rounds: &[Figures], direct: &[Figures], name: &str) -> Option<f64> {
    let pairs = rounds.iter().zip(direct);
    median(pairs.filter_map(|(figures, direct)| Some(figures.get(name)? / direct.get(name)?)).collect())
}

/// A line for each scenario: how fast, as a part of direct, and at what cost in the middle.
pub(super) fn show(results: &Results, options: &Options) -> String {
    let mut page = format!(
        "Medians of {} rounds of {} s, everything on one CPU.\n\n| scenario | direct | pgbouncer / direct | interceptor / direct | CPU pgbouncer | CPU interceptor |\n|---|---|---|---|---|---|\n",
        options.rounds, options.seconds
    );
    let cell = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}{unit}"))
    };
    let none = Vec::new();
    for (name, ways) in results {
        let of = |way: Way| ways.get(way.name()).unwrap_or(&none);
        let direct = of(Way::Direct);
        let (speed, unit) = if figure(direct, "mb_s").is_some() { ("mb_s", " MB/s") } else { ("tps", " /s") };
        // Masked rows have fewer bytes: as many a second are as fast.
        let compared = if speed == "mb_s" { "rows_s" } else { speed };
        let (cost, cost_unit) = if speed == "mb_s" { ("cpu_s_gb", " s/GB") } else { ("cpu_us", " us") };
        let costs = |way| match figure(of(way), "kb_conn") {
            Some(kilobytes) => format!("{kilobytes:.1} kB/connection"),
            None => cell(figure(of(way), cost), 2, cost_unit),
        };
        // Whoever writes into a string cannot fail.
        let _written = writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} |",
            cell(figure(direct, speed), 0, unit),
            cell(ratio(of(Way::Bouncer), direct, compared), 3, ""),
            cell(ratio(of(Way::Interceptor), direct, compared), 3, ""),
            costs(Way::Bouncer),
            costs(Way::Interceptor),
        );
        if let Some(p50) = figure(direct, "p50_us") {
            for (part, of_direct) in [("p50_us", Some(p50)), ("p99_us", figure(direct, "p99_us"))] {
                let added = |way| Some(figure(of(way), part)? - of_direct?);
                let _written = writeln!(
                    page,
                    "| added {part} | {} | {} | {} | | |",
                    cell(of_direct, 0, " us"),
                    cell(added(Way::Bouncer), 0, " us"),
                    cell(added(Way::Interceptor), 0, " us"),
                );
            }
        }
    }
    page
}
