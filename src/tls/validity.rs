//! From when until when a certificate counts: the one field of X.509 that rustls does not tell a server.

use chrono::{DateTime, NaiveDate};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub from_s: i64,
    pub until_s: i64,
}

impl Validity {
    /// Of a DER certificate (RFC 5280, section 4.1).
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = content(certificate, SEQUENCE)?;
        let (mut fields, _) = content(certificate, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            fields = element(fields)?.2;
        }
        for _serial_algorithm_issuer in 0..3 {
            fields = element(fields)?.2;
        }
        let (times, _) = content(fields, SEQUENCE)?;
        let (_, _, rest) = element(times)?;
        Some(Self { from_s: time_s(times)?, until_s: time_s(rest)? })
    }
}

/// Tag, content and what follows of a DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

fn content(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == wanted).then_some((content, rest))
}

fn time_s(bytes: &[u8]) -> Option<i64> {
    let (tag, text, _) = element(bytes)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u32>().ok();
    let date = NaiveDate::from_ymd_opt(year, two(0)?, two(2)?)?;
    let time = date.and_hms_opt(two(4)?, two(6)?, two(8)?)?;
    (rest.len() == 10).then(|| time.and_utc().timestamp())
}

/// As people read it.
pub(super) fn day(time_s: i64) -> String {
    DateTime::from_timestamp(time_s, 0)
        .map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82];
        out.extend_from_slice(&u16::try_from(content.len()).expect("short").to_be_bytes());
        out.extend_from_slice(content);
        out
    }

    fn certificate(version: bool, times: &[u8]) -> Vec<u8> {
        let mut fields = if version { der(VERSION, &der(2, &[2])) } else { Vec::new() };
        for field in [der(2, &[1; 200]), der(SEQUENCE, &[]), der(SEQUENCE, &[9; 300]), der(SEQUENCE, times)] {
            fields.extend(field);
        }
        der(SEQUENCE, &der(SEQUENCE, &fields))
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let times = [der(UTC_TIME, b"700101000001Z"), der(GENERALIZED_TIME, b"20500101000000Z")].concat();
        for version in [true, false] {
            let found = Validity::of(&certificate(version, &times)).expect("a validity");
            assert_eq!(found, Validity { from_s: 1, until_s: 2_524_608_000 });
        }
        assert_eq!(day(2_524_608_000), "2050-01-01 00:00:00 UTC");
    }

    #[test]
    fn what_is_cut_or_no_time_is_refused() {
        let good = [der(UTC_TIME, b"260101000000Z"), der(UTC_TIME, b"270101000000Z")].concat();
        let whole = certificate(true, &good);
        assert!(Validity::of(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..len]), None, "{len}");
        }
        for bad in [
            "261301000000Z",
            "260101000000",
            "26010100000Z",
            "2601010000000Z",
            "26-101000000Z",
            "é60101000000Z",
        ] {
            let times = [der(UTC_TIME, bad.as_bytes()), der(UTC_TIME, b"270101000000Z")].concat();
            assert_eq!(Validity::of(&certificate(true, &times)), None, "{bad}");
        }
    }
}
