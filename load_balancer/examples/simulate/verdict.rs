//! How the default policy did beside the best of all, in every scenario.

use crate::summary::Summary;

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// A policy that loses a hundredth of its requests is not the measure of the others' times.
const ERRORS_PERCENT: f64 = 1.0;

/// Within this the default counts as level with the best.
const LEVEL: f64 = 1.1;

/// The scenarios seen so far.
#[derive(Default)]
pub(crate) struct Verdict {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    lowest_ms: [f64; 3],
    default_ms: [f64; 3],
}

impl Verdict {
    /// Takes in what one policy achieved.
    pub(crate) fn note(&mut self, scenario: &str, load: f64, is_default: bool, summary: &mut Summary) {
        let name = format!("{scenario}, {:.0} %", load * 100.0);
        let times_ms = QUANTILES.map(|quantile| summary.quantile_ms(quantile));
        let index = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, lowest_ms: [f64::INFINITY; 3], default_ms: [f64::NAN; 3] });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        if is_default {
            row.default_ms = times_ms;
        }
        if is_default || summary.error_percent() < ERRORS_PERCENT {
            for (lowest, time) in row.lowest_ms.iter_mut().zip(times_ms) {
                *lowest = lowest.min(time);
            }
        }
    }

    /// Prints where the default is not level with the lowest, and how often it is.
    pub(crate) fn print(&self, hedges: bool) {
        let with = if hedges { "with hedges" } else { "without hedges" };
        println!("\n### `latency` beside the lowest of all policies, {with}\n");
        println!("| scenario | p50 | p99 | p99.9 |\n|---|---|---|---|");
        let mut level = 0;
        for row in &self.rows {
            let ratios = [0, 1, 2].map(|index| row.default_ms[index] / row.lowest_ms[index]);
            if ratios.iter().all(|ratio| *ratio <= LEVEL) {
                level += 1;
            } else {
                let [p50, p99, p999] = ratios;
                println!("| {} | {p50:.2} × | {p99:.2} × | {p999:.2} × |", row.name);
            }
        }
        println!("\nWithin a tenth of the lowest in all three: {level} of {} scenarios.", self.rows.len());
    }
}
