//! Median, lowest, highest and ratios; the table a reader sees and the file that keeps it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use crate::Options;
use crate::client::Rate;

/// Rates by name, one a round.
#[derive(Default)]
pub struct Figures(BTreeMap<&'static str, Vec<Rate>>);

/// Three digits of small numbers, whole large ones.
fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.3}") } else { format!("{value:.0}") }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figures {
    pub fn add(&mut self, name: &'static str, rate: Rate) {
        self.0.entry(name).or_default().push(rate);
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.0.get(name).map(|rates| rates.iter().map(|rate| rate.value).collect()).unwrap_or_default()
    }

    pub fn median(&self, name: &str) -> f64 {
        median(self.values(name))
    }

    /// The median of the rounds' medians.
    pub fn median_p50_ms(&self, name: &str) -> f64 {
        median(self.0.get(name).into_iter().flatten().filter_map(|rate| rate.p50_ms).collect())
    }

    fn table(&self) -> String {
        let mut text =
            String::from("| what | median | min | max | p50 ms | p99 ms |\n|---|---|---|---|---|---|\n");
        for (name, rates) in &self.0 {
            let values = self.values(name);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(0.0, f64::max);
            let latency = |pick: fn(&Rate) -> Option<f64>| {
                let found: Vec<f64> = rates.iter().filter_map(pick).collect();
                if found.is_empty() { "–".to_owned() } else { format!("{:.2}", median(found)) }
            };
            let (p50, p99) = (latency(|rate| rate.p50_ms), latency(|rate| rate.p99_ms));
            let _written = writeln!(
                text,
                "| {name} | {} | {} | {} | {p50} | {p99} |",
                short(median(values)),
                short(low),
                short(high)
            );
        }
        text
    }
}

/// Everything that was measured in one run.
pub struct Report {
    machine: String,
    notes: Vec<String>,
    ratios: Vec<String>,
    bounds: Vec<String>,
    texts: Vec<(String, String)>,
    jobs: Vec<(String, Figures)>,
    holds: bool,
}

impl Report {
    pub fn new() -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let said = Command::new(program).args(arguments).output();
            said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
        };
        let model = said("sh", &["-c", "sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1"]);
        let memory = said("sh", &["-c", "sed -n 's/^MemTotal: *//p' /proc/meminfo"]);
        let load = said("cut", &["-d ", "-f1-3", "/proc/loadavg"]);
        let notes =
            vec![format!("load average at the start {load}; other work on the machine lowers every figure")];
        Self {
            machine: format!(
                "{} × {model}, {memory} memory, Linux {}",
                said("nproc", &[]),
                said("uname", &["-r"])
            ),
            notes,
            ratios: Vec::new(),
            bounds: Vec::new(),
            texts: Vec::new(),
            jobs: Vec::new(),
            holds: true,
        }
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub fn job(&mut self, title: &str, figures: Figures) {
        self.jobs.push((title.to_owned(), figures));
    }

    /// The median of the rounds' ratios, each of two neighbours in time.
    pub fn ratio(&mut self, job: &str, ours: &str, theirs: &str, hold: f64, goal: f64, figures: &Figures) {
        let (a, b) = (figures.values(ours), figures.values(theirs));
        let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(ratios);
        let verdict = match ratio {
            ratio if ratio >= goal => "goal reached",
            ratio if ratio >= hold => "holds",
            _ => "**below hold**",
        };
        self.holds &= ratio >= hold;
        self.ratios.push(format!(
            "| {job} | {ours} ÷ {theirs} | {ratio:.2} | {low:.2} | {high:.2} | {hold} | {goal} | {verdict} |"
        ));
    }

    /// A figure that must not be above `hold`, and is good below `goal`.
    pub fn at_most(&mut self, job: &str, what: &str, value: f64, hold: f64, goal: f64) {
        self.bound(job, what, value, ("≤", hold, goal), value <= hold, value <= goal);
    }

    /// A figure that must not be below `hold`, and is good from `goal`.
    pub fn at_least(&mut self, job: &str, what: &str, value: f64, hold: f64, goal: f64) {
        self.bound(job, what, value, ("≥", hold, goal), value >= hold, value >= goal);
    }

    fn bound(
        &mut self,
        job: &str,
        what: &str,
        value: f64,
        (sign, hold, goal): (&str, f64, f64),
        holds: bool,
        good: bool,
    ) {
        let verdict = match (holds, good) {
            (true, true) => "goal reached",
            (true, false) => "holds",
            _ => "**misses hold**",
        };
        self.holds &= holds;
        eprintln!("{job}: {what} {value:.3} {sign} {hold}: {verdict}");
        self.bounds
            .push(format!("| {job} | {what} | {value:.3} | {sign} {hold} | {sign} {goal} | {verdict} |"));
    }

    /// A table or a few sentences under a title.
    pub fn text(&mut self, title: &str, text: String) {
        eprintln!("{title}\n{text}");
        self.texts.push((title.to_owned(), text));
    }

    pub fn holds(&self) -> bool {
        self.holds
    }

    pub fn write(&self, options: &Options) -> anyhow::Result<()> {
        let mut text = String::from(include_str!("head.md"));
        let roapi = if options.roapi.is_some() { " --roapi $(which roapi)" } else { "" };
        let duckdb = if options.duckdb.is_some() { " --duckdb $(which python3)" } else { "" };
        writeln!(text, "## Figures\n\nMachine: {}. {}.\n", self.machine, options.when)?;
        writeln!(
            text,
            "```\ncargo bench --bench jobs -- --hub target/release/tongqu{roapi}{duckdb} --jobs {} --residents {} --entries {} --rounds {} --seconds {} --minutes {}\n```\n",
            options.jobs.join(","),
            options.residents,
            options.entries,
            options.rounds,
            options.seconds,
            options.minutes
        )?;
        for note in &self.notes {
            writeln!(text, "- {note}")?;
        }
        text.push_str(
            "\n| job | ratio | median | min | max | hold | goal | |\n|---|---|---|---|---|---|---|---|\n",
        );
        for ratio in &self.ratios {
            writeln!(text, "{ratio}")?;
        }
        if !self.bounds.is_empty() {
            text.push_str("\n| job | figure | measured | hold | goal | |\n|---|---|---|---|---|---|\n");
        }
        for bound in &self.bounds {
            writeln!(text, "{bound}")?;
        }
        for (title, found) in &self.texts {
            writeln!(text, "\n### {title}\n\n{found}")?;
        }
        for (title, figures) in &self.jobs {
            writeln!(
                text,
                "\n### {title}\n\nPer second, {} rounds of {} s.\n\n{}",
                options.rounds,
                options.seconds,
                figures.table()
            )?;
        }
        Ok(std::fs::write(&options.out, text)?)
    }
}
