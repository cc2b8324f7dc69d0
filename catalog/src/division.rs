//! Administrative divisions (GB/T 2260): provinces, cities and counties by six-digit code.
//!
//! INVARIANT: the tree is complete: every division but a province has its parent in the same table, so
//! that "everything below" never silently loses a branch.

use std::collections::BTreeMap;

use crate::fault::Faults;

const DIVISIONS: &str = include_str!("../codes/divisions.csv");
/// Most divisions read; China has about 3,350 down to counties.
pub const DIVISIONS_MAX: usize = 20_000;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DivisionLevel {
    Province,
    City,
    County,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Six digits; ends in `0000` for a province, `00` for a city.
    pub code: String,
    pub name: String,
    /// Code of the division above; none for a province.
    pub parent: Option<String>,
}

impl Division {
    pub fn level(&self) -> DivisionLevel {
        if self.code.ends_with("0000") {
            DivisionLevel::Province
        } else if self.code.ends_with("00") {
            DivisionLevel::City
        } else {
            DivisionLevel::County
        }
    }
}

/// A validated table of divisions, in order of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divisions(BTreeMap<String, Division>);

impl Divisions {
    /// The table built into the hub (source: `catalog/codes/README.md`).
    pub fn embedded() -> Result<Self, Faults> {
        Self::load(DIVISIONS)
    }

    /// Reads lines `code,name,parent` under exactly that header; faults stand at `/LINE`.
    pub fn load(text: &str) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut divisions = BTreeMap::new();
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line.trim_start_matches('\u{feff}') != "code,name,parent") {
            faults.add("/1", "the first line is not `code,name,parent`; write that header");
            return Err(faults);
        }
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            if divisions.len() >= DIVISIONS_MAX {
                faults
                    .add("", format!("more than {DIVISIONS_MAX} divisions; leave out streets and villages"));
                return Err(faults);
            }
            match parse(line) {
                Ok(division) => {
                    let at = format!("/{}", index + 1);
                    let code = division.code.clone();
                    if divisions.insert(code.clone(), division).is_some() {
                        faults.add(at, format!("code `{code}` stands twice; keep one line"));
                    }
                }
                Err(message) => faults.add(format!("/{}", index + 1), message),
            }
        }
        for division in divisions.values() {
            if let Some(parent) = &division.parent
                && !divisions.contains_key(parent)
            {
                faults.add("", format!("parent `{parent}` of `{}` is missing; add its line", division.code));
            }
        }
        faults.or(Self(divisions))
    }

    pub fn get(&self, code: &str) -> Option<&Division> {
        self.0.get(code)
    }

    /// All divisions in order of code.
    pub fn iter(&self) -> impl Iterator<Item = &Division> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Divisions with none below them: counties, and the few cities without counties.
    pub fn leaves(&self) -> impl Iterator<Item = &Division> {
        let parents: std::collections::BTreeSet<&str> =
            self.iter().filter_map(|division| division.parent.as_deref()).collect();
        self.iter().filter(move |division| !parents.contains(division.code.as_str()))
    }

    /// Names from the province down, without the placeholders `市辖区`, `县` and `…直辖县级行政区划`; empty for an
    /// unknown code.
    pub fn full_name(&self, code: &str) -> String {
        let mut names = Vec::new();
        let mut next = self.get(code);
        while let Some(division) = next {
            let placeholder = division.level() == DivisionLevel::City
                && (matches!(division.name.as_str(), "市辖区" | "县") || division.name.ends_with("行政区划"));
            if !placeholder {
                names.push(division.name.as_str());
            }
            next = division.parent.as_deref().and_then(|parent| self.get(parent));
        }
        names.reverse();
        names.concat()
    }
}

fn parse(line: &str) -> Result<Division, String> {
    let mut cells = line.split(',');
    let (Some(code), Some(name), Some(parent), None) =
        (cells.next(), cells.next(), cells.next(), cells.next())
    else {
        return Err("not three cells; write `code,name,parent`".into());
    };
    let six = |code: &str| code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    if !six(code) {
        return Err("the code is not six digits; write it as in GB/T 2260".into());
    }
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(format!(
            "the name of `{code}` is empty or longer than {NAME_CHARS_MAX} characters; correct it"
        ));
    }
    let division = Division {
        code: code.into(),
        name: name.trim().into(),
        parent: (!parent.is_empty()).then(|| parent.to_owned()),
    };
    let above = match division.level() {
        DivisionLevel::Province => None,
        DivisionLevel::City => Some(format!("{}0000", &code[..2])),
        DivisionLevel::County => Some(format!("{}00", &code[..4])),
    };
    if division.parent != above {
        let above = above.unwrap_or_else(|| "nothing".into());
        return Err(format!("the parent of `{code}` must be {above}; correct it"));
    }
    Ok(division)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_is_whole() {
        let divisions = Divisions::embedded().unwrap();
        let count = |level| divisions.iter().filter(|division| division.level() == level).count();
        assert_eq!(count(DivisionLevel::Province), 31);
        assert_eq!(count(DivisionLevel::City), 342);
        assert_eq!(count(DivisionLevel::County), 2_975);
        assert_eq!(divisions.leaves().count(), 2_978);
        assert_eq!(divisions.len(), 3_348);
    }

    #[test]
    fn names_by_code() {
        let divisions = Divisions::embedded().unwrap();
        let check = |code: &str, expect: &str| assert_eq!(divisions.full_name(code), expect, "{code}");
        check("330203", "浙江省宁波市海曙区");
        check("110101", "北京市东城区");
        check("441900", "广东省东莞市");
        check("429004", "湖北省仙桃市");
        check("330000", "浙江省");
        check("999999", "");
        check("", "");
        assert_eq!(divisions.get("330203").unwrap().parent.as_deref(), Some("330200"));
        assert_eq!(divisions.get("330203 "), None);
    }

    #[test]
    fn a_broken_table_is_refused() {
        let check = |lines: &str, pointer: &str, expect: &str| {
            let faults = Divisions::load(&format!("code,name,parent\n{lines}")).unwrap_err();
            assert!(
                faults.0.iter().any(|fault| fault.pointer == pointer && fault.message.contains(expect)),
                "{lines}: {faults:?}"
            );
        };
        check("110000,北京市", "/2", "not three cells");
        check("110000,北京市,,", "/2", "not three cells");
        check("110000,北京市,\n110000,北京,", "/3", "stands twice");
        check("11000,北京市,", "/2", "six digits");
        check("1100００,北京市,", "/2", "six digits");
        check("110000,,", "/2", "name of `110000`");
        check("110000,北京市,100000", "/2", "parent of `110000` must be nothing");
        check("110000,北京市,\n\n110101,东城区,110000", "/4", "must be 110100");
        check("110000,北京市,\n110101,东城区,110100", "", "parent `110100` of `110101` is missing");
        assert!(Divisions::load("").is_err());
        assert!(Divisions::load("name,code,parent\n").is_err());
        assert!(Divisions::load("\u{feff}code,name,parent\r\n110000,北京市,\r\n").is_ok());
        let many: String = (0..=DIVISIONS_MAX).map(|n| format!("{:02}0000,x,\n", n % 100)).collect();
        check(&many, "/102", "stands twice");
    }
}
