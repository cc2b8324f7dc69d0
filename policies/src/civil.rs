//! Days and calendar dates as plain arithmetic, so that no date in a table can make a mask or a scope fail.
//!
//! Algorithms after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (proleptic Gregorian).

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Days from 1970-01-01 to a calendar date; the caller keeps month and day in range.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The calendar year a day lies in.
pub(crate) fn year(days: i64) -> i64 {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The algorithm's year starts in March: its days 306 and later are next January and February.
    year_of_era + era * 400 + i64::from(day_of_year >= 306)
}

/// Days in a month.
fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// `YYYY-MM-DD` as days from 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    if text.len() != 10 {
        return None;
    }
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let valid = (1..=12).contains(&month) && (1..=month_length(year, month)).contains(&day);
    (valid && parts.next().is_none()).then(|| days(year, month, day))
}

/// `YYYY-MM-DDTHH:MM:SS[.ffffff]Z` as microseconds from 1970-01-01 UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if time.len() != 8 || fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let mut parts = time.split(':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = digits(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = digits(parts.next()?, 2).filter(|second| *second < 60)?;
    if parts.next().is_some() {
        return None;
    }
    let micros = digits(&format!("{fraction:0<6}"), 6)?;
    Some(parse_date(date)? * DAY_US + (hour * 3_600 + minute * 60 + second) * 1_000_000 + micros)
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse_date(text), expect, "{text}");
        check("1970-01-01", Some(0));
        check("1969-12-31", Some(-1));
        check("2000-02-29", Some(11_016));
        check("2024-12-31", Some(20_088));
        check("0001-01-01", Some(-719_162));
        check("1900-02-29", None);
        check("2024-13-01", None);
        check("2024-00-01", None);
        check("2024-1-01", None);
        check("2024-01-01 ", None);
        check("２024-01-01", None);
        check("", None);
    }

    #[test]
    fn timestamps() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse_timestamp(text), expect, "{text}");
        check("1970-01-01T00:00:01Z", Some(1_000_000));
        check("1970-01-01T00:00:00.5Z", Some(500_000));
        check("1970-01-02T00:00:00.000001Z", Some(DAY_US + 1));
        check("1970-01-01T24:00:00Z", None);
        check("1970-01-01T00:00:00", None);
        check("1970-01-01T00:00:00+08:00", None);
        check("1970-01-01T00:00:00.1234567Z", None);
        check("1970-01-01T00:00:00.Z", None);
    }

    #[test]
    fn years_hold_for_every_day() {
        for (text, expect) in
            [("1970-01-01", 1970), ("2000-02-29", 2000), ("1999-12-31", 1999), ("1600-03-01", 1600)]
        {
            assert_eq!(parse_date(text).map(year), Some(expect), "{text}");
        }
        for expect in (-3_000_i64..5_000).step_by(7) {
            assert_eq!(year(days(expect, 1, 1)), expect);
            assert_eq!(year(days(expect, 12, 31)), expect);
            assert_eq!(year(days(expect, 3, 1) - 1), expect);
        }
        // The ends of the 32-bit day range must not overflow.
        year(i64::from(i32::MIN));
        year(i64::from(i32::MAX));
        year(i64::MIN / DAY_US);
    }
}
