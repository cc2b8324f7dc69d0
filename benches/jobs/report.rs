//! Median, lowest, highest and ratios; the table a reader sees and the file that keeps it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use crate::Options;
use crate::client::Rate;

/// Rates by name, one a round.
#[derive(Default)]
pub struct Figures(BTreeMap<&'static str, Vec<Rate>>);

fn median(mut values: Vec<f64>) -> f64 {
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
            let _written =
                writeln!(text, "| {name} | {:.0} | {low:.0} | {high:.0} | {p50} | {p99} |", median(values));
        }
        text
    }
}

/// Everything that was measured in one run.
pub struct Report {
    machine: String,
    notes: Vec<String>,
    ratios: Vec<String>,
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

    pub fn holds(&self) -> bool {
        self.holds
    }

    pub fn write(&self, options: &Options) -> anyhow::Result<()> {
        let mut text = String::from(include_str!("head.md"));
        let roapi = if options.roapi.is_some() { " --roapi $(which roapi)" } else { "" };
        writeln!(text, "## Figures\n\nMachine: {}. {}.\n", self.machine, options.when)?;
        writeln!(
            text,
            "```\ncargo bench --bench jobs -- --hub target/release/tongqu{roapi} --residents {} --rounds {} --seconds {}\n```\n",
            options.residents, options.rounds, options.seconds
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
        for (title, figures) in &self.jobs {
            writeln!(
                text,
                "\n### {title}\n\nPer second, {} rounds of {} s.\n\n{}",
                options.rounds,
                options.seconds,
                figures.table()
            )?;
        }
        println!("{text}");
        Ok(std::fs::write(&options.out, text)?)
    }
}
