//! Medians with their spread, and the file that keeps the raw output.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Several measurements of one thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn extend(&mut self, samples: impl IntoIterator<Item = f64>) {
        self.0.extend(samples);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the middle one; the mean of the middle two of an even number.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Writes `median [least–most]`.
    pub(crate) fn show(&self, decimals: usize) -> String {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{:.decimals$} [{least:.decimals$}–{most:.decimals$}]", self.median())
    }
}

/// What one benchmark wrote: shown at once, and kept beside command, commit and machine.
pub(crate) struct Report {
    text: String,
    raw: String,
}

impl Report {
    /// Begins a report with what is needed to repeat it.
    pub(crate) fn new(title: &str) -> Self {
        let command: Vec<String> = std::env::args().collect();
        let mut text = format!("# {title}\n\n");
        let _ = writeln!(text, "command: {}", command.join(" "));
        let _ = writeln!(text, "commit:  {}", output("git", &["describe", "--always", "--dirty"]));
        let _ = writeln!(text, "date:    {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]));
        let _ = writeln!(
            text,
            "machine: {}, {} cores, Linux {}\n",
            cpu_model(),
            cores(),
            output("uname", &["-r"])
        );
        print!("{text}");
        Self { text, raw: String::new() }
    }

    /// Adds a line to the report and prints it.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
        let _ = writeln!(self.text, "{}", line.as_ref());
    }

    /// Keeps raw output below the report.
    pub(crate) fn keep(&mut self, what: &str, raw: &str) {
        let _ = writeln!(self.raw, "## {what}\n{raw}");
    }

    /// Writes the report and the raw output.
    pub(crate) fn write(self, folder: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(name);
        std::fs::write(&path, format!("{}\n# Raw output\n\n{}", self.text, self.raw))?;
        println!("\nkept in {}\n", path.display());
        Ok(())
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, model)| model).to_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_shown_with_its_spread() {
        let mut samples = Samples::default();
        samples.extend([3.0, 1.0, 2.0]);
        assert_eq!(samples.show(1), "2.0 [1.0–3.0]");
        samples.push(4.0);
        assert_eq!(samples.show(2), "2.50 [1.00–4.00]");
    }
}
