//! Identifiers of persons (GB 11643), organisations (GB 32100) and organisation codes (GB 11714): checks and check digits.
//!
//! INVARIANT: no error carries the identifier it is about, only the rule that failed and a position.
//! INVARIANT: `normalise` is total and idempotent: one person has one digest, however the number was typed.

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// Alphabet of GB 32100, in order of value; I, O, S, V and Z are not used.
const USCC_ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
/// Check characters of ISO 7064 MOD 11-2 by remainder.
const MOD_11_2: &[u8; 11] = b"10X98765432";
/// 2^(17-i) mod 11 for position i of an id number.
const ID_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
/// 3^i mod 31 for position i of a credit code.
const USCC_WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
const ORGANISATION_WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
/// First two digits of GB/T 2260 codes, abolished ones included: old cards keep them. 81–83 are residence
/// permits of Hong Kong, Macao and Taiwan residents, 91 permanent residence cards.
const PROVINCES: [u8; 35] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54,
    61, 62, 63, 64, 65, 81, 82, 83, 91,
];

/// Which rule an identifier breaks. Positions count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    #[error("identifier has {found} characters; give {expected}")]
    Length { expected: usize, found: usize },
    #[error("character {position} is not allowed there; check for letters that look like digits")]
    Character { position: usize },
    #[error("the first two digits are no province; check the region digits")]
    Region,
    #[error("digits 7 to 14 are no date; check the birth date digits")]
    Date,
    #[error("the birth date lies after today; check the birth date digits")]
    BornLater,
    #[error("the check character does not fit (ISO 7064 MOD 11-2); compare every digit with the document")]
    IdCheck,
    #[error("the check character does not fit (GB 32100); compare every character with the document")]
    UsccCheck,
    #[error("characters 9 to 17 are no organisation code (GB 11714); compare them with the document")]
    OrganisationCheck,
}

/// Sex as the 17th digit of an id number tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sex {
    Male,
    Female,
}

impl Sex {
    /// Code of GB/T 2261.1.
    pub fn code(self) -> &'static str {
        match self {
            Self::Male => "1",
            Self::Female => "2",
        }
    }
}

/// Checks an 18-digit id number (GB 11643): form, province, date, check character; upper-case `X` only.
pub fn check_id_number(text: &str) -> Result<(), IdentifierError> {
    let (body, check) = split_check::<17>(text)?;
    birth_from(&body)?;
    let expected = id_number_check(text.get(..17).unwrap_or_default())?;
    if char::from(check) == expected { Ok(()) } else { Err(IdentifierError::IdCheck) }
}

/// [`check_id_number`], and the birth date must not lie after `today`.
pub fn check_id_number_on(text: &str, today: NaiveDate) -> Result<(), IdentifierError> {
    check_id_number(text)?;
    if birth_date(text)? > today { Err(IdentifierError::BornLater) } else { Ok(()) }
}

/// Check character of an id number from its first 17 digits (ISO 7064 MOD 11-2).
pub fn id_number_check(first_17: &str) -> Result<char, IdentifierError> {
    let digits = digits::<17>(first_17)?;
    let sum: u32 = digits.iter().zip(ID_WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    Ok(pick(MOD_11_2, sum % 11))
}

/// A valid id number of region (six digits), birth date and sequence (1 to 999, odd for male).
pub fn compose_id_number(region: &str, birth: NaiveDate, sequence: u16) -> Result<String, IdentifierError> {
    let first_17 = format!("{region}{:04}{:02}{:02}{sequence:03}", birth.year(), birth.month(), birth.day());
    birth_from(&digits::<17>(&first_17)?)?;
    let check = id_number_check(&first_17)?;
    Ok(format!("{first_17}{check}"))
}

/// A 15-digit legacy number as 18 digits: `19` before the year, the check character computed.
pub fn widen(text: &str) -> Result<String, IdentifierError> {
    digits::<15>(text)?;
    let (region, rest) = text.split_at(6);
    let first_17 = format!("{region}19{rest}");
    birth_from(&digits::<17>(&first_17)?)?;
    let check = id_number_check(&first_17)?;
    Ok(format!("{first_17}{check}"))
}

/// One spelling for digests and pseudonyms: full-width as half-width, trimmed, ASCII upper-case, and a
/// 15-digit legacy id number as 18 digits (any other text of 15 characters stays as it is).
pub fn normalise(text: &str) -> String {
    let folded: String = text.chars().map(half_width).collect();
    let trimmed = folded.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    widen(trimmed).unwrap_or_else(|_| trimmed.to_ascii_uppercase())
}

/// Birth date in an id number of 18 or 15 digits.
pub fn birth_date(id: &str) -> Result<NaiveDate, IdentifierError> {
    birth_from(&first_17(id)?)
}

/// Sex in an id number of 18 or 15 digits: an odd sequence is male.
pub fn sex(id: &str) -> Result<Sex, IdentifierError> {
    let [.., last] = first_17(id)?;
    Ok(if last % 2 == 1 { Sex::Male } else { Sex::Female })
}

/// Region code (six digits, GB/T 2260) at the time the number was given.
pub fn region(id: &str) -> Result<&str, IdentifierError> {
    first_17(id)?;
    id.get(..6).ok_or(IdentifierError::Character { position: 1 })
}

/// Checks a unified social credit code (GB 32100): alphabet, region digits, check character.
///
/// The organisation code inside is not checked: codes given before 2015 do not all carry one; see
/// [`check_uscc_strictly`].
pub fn check_uscc(text: &str) -> Result<(), IdentifierError> {
    let found = text.chars().count();
    if found != 18 {
        return Err(IdentifierError::Length { expected: 18, found });
    }
    for (index, character) in text.chars().enumerate() {
        let allowed = match index {
            2..=7 => character.is_ascii_digit(),
            _ => u8::try_from(character).is_ok_and(|byte| USCC_ALPHABET.contains(&byte)),
        };
        if !allowed {
            return Err(IdentifierError::Character { position: index + 1 });
        }
    }
    let (body, check) = text.split_at(17);
    if check.starts_with(uscc_check(body)?) { Ok(()) } else { Err(IdentifierError::UsccCheck) }
}

/// [`check_uscc`], and characters 9 to 17 must be a valid organisation code.
pub fn check_uscc_strictly(text: &str) -> Result<(), IdentifierError> {
    check_uscc(text)?;
    check_organisation_code(text.get(8..17).unwrap_or_default())
        .map_err(|_| IdentifierError::OrganisationCheck)
}

/// Check character of a credit code from its first 17 characters (GB 32100).
pub fn uscc_check(first_17: &str) -> Result<char, IdentifierError> {
    let found = first_17.chars().count();
    if found != 17 {
        return Err(IdentifierError::Length { expected: 17, found });
    }
    let mut sum = 0;
    for (index, (byte, weight)) in first_17.bytes().zip(USCC_WEIGHTS).enumerate() {
        let value = USCC_ALPHABET.iter().position(|known| *known == byte);
        sum += value.ok_or(IdentifierError::Character { position: index + 1 })? as u32 * weight;
    }
    Ok(pick(USCC_ALPHABET, (31 - sum % 31) % 31))
}

/// A valid credit code of kind (two characters, e.g. `91` enterprise), region (six digits) and the first
/// eight characters of an organisation code.
pub fn compose_uscc(kind: &str, region: &str, organisation: &str) -> Result<String, IdentifierError> {
    let first_17 = format!("{kind}{region}{organisation}{}", organisation_code_check(organisation)?);
    let check = uscc_check(&first_17)?;
    let uscc = format!("{first_17}{check}");
    check_uscc_strictly(&uscc)?;
    Ok(uscc)
}

/// Checks an organisation code (GB 11714): nine characters, or ten with a hyphen before the last.
pub fn check_organisation_code(text: &str) -> Result<(), IdentifierError> {
    let found = text.chars().count();
    let (body, check) = match text.rsplit_once('-') {
        Some((body, check)) if found == 10 => (body, check),
        _ if found == 9 && text.is_ascii() => text.split_at(8),
        _ => return Err(IdentifierError::Length { expected: 9, found }),
    };
    if check.len() == 1 && check.starts_with(organisation_code_check(body)?) {
        Ok(())
    } else {
        Err(IdentifierError::OrganisationCheck)
    }
}

/// Check character of an organisation code from its first eight characters (GB 11714).
pub fn organisation_code_check(first_8: &str) -> Result<char, IdentifierError> {
    let found = first_8.chars().count();
    if found != 8 {
        return Err(IdentifierError::Length { expected: 8, found });
    }
    let mut sum = 0;
    for (index, (character, weight)) in first_8.chars().zip(ORGANISATION_WEIGHTS).enumerate() {
        let value = character.to_digit(36).filter(|_| !character.is_ascii_lowercase());
        sum += value.ok_or(IdentifierError::Character { position: index + 1 })? * weight;
    }
    // 11 - remainder, where 10 is written X and 11 is written 0.
    Ok(pick(b"0X987654321", sum % 11))
}

/// The first 17 digits of an id number of 18 or 15 digits; its check character is not looked at.
fn first_17(id: &str) -> Result<[u8; 17], IdentifierError> {
    if id.len() == 15 {
        return digits::<17>(widen(id)?.get(..17).unwrap_or_default());
    }
    Ok(split_check::<17>(id)?.0)
}

/// Digits and the check character after them.
fn split_check<const N: usize>(text: &str) -> Result<([u8; N], u8), IdentifierError> {
    let found = text.chars().count();
    if found != N + 1 {
        return Err(IdentifierError::Length { expected: N + 1, found });
    }
    let body: String = text.chars().take(N).collect();
    match text.chars().last().map(u8::try_from) {
        Some(Ok(check)) if check.is_ascii_digit() || check == b'X' => Ok((digits::<N>(&body)?, check)),
        _ => digits::<N>(&body).and(Err(IdentifierError::Character { position: N + 1 })),
    }
}

fn digits<const N: usize>(text: &str) -> Result<[u8; N], IdentifierError> {
    let found = text.chars().count();
    if found != N {
        return Err(IdentifierError::Length { expected: N, found });
    }
    let mut digits = [0; N];
    for (index, (slot, character)) in digits.iter_mut().zip(text.chars()).enumerate() {
        let digit = character.to_digit(10).ok_or(IdentifierError::Character { position: index + 1 })?;
        *slot = digit as u8;
    }
    Ok(digits)
}

/// Province and birth date rules; gives the date.
fn birth_from(digits: &[u8; 17]) -> Result<NaiveDate, IdentifierError> {
    let number = |from: usize, to: usize| {
        digits[from..to].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit))
    };
    if !PROVINCES.contains(&(number(0, 2) as u8)) {
        return Err(IdentifierError::Region);
    }
    let year = number(6, 10);
    let date = NaiveDate::from_ymd_opt(year as i32, number(10, 12), number(12, 14));
    // The oldest person ever recorded was born in 1875; earlier years are typing errors.
    date.filter(|_| year >= 1850).ok_or(IdentifierError::Date)
}

fn pick(table: &[u8], index: u32) -> char {
    table.get(index as usize).copied().map_or('?', char::from)
}

/// Full-width ASCII variants (U+FF01–U+FF5E) and the ideographic space as half-width.
fn half_width(character: char) -> char {
    match character {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        other => other,
    }
}

#[cfg(test)]
#[path = "identifier_tests.rs"]
mod tests;
