//! Canonical JSON of an entry: one way to write every value, and a reader that accepts nothing else.
//!
//! INVARIANT: output is printable ASCII only, so no value can forge a line, an escape sequence or a field (A094).
//! INVARIANT: absent values are left out; field order is the order of the calls; no white space.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::sha256;

/// Integers stay exactly representable in every JSON reader (RFC 8259 §6).
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// How much of a value is kept, in encoded bytes, before the rest becomes a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Codes, names and identifiers.
    Short,
    /// Lists and the statement shape.
    Long,
}

/// Visits the fields of an entry in their one order; writer and reader are both made of it.
pub(crate) trait Fields {
    fn text(&mut self, name: &'static str, value: &mut String, size: Size);
    fn number(&mut self, name: &'static str, value: &mut Option<u64>);
    fn list(&mut self, name: &'static str, value: &mut Vec<String>);
}

/// Caps in encoded bytes for one attempt at writing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    pub short: usize,
    pub long: usize,
}

pub(crate) struct Writer {
    out: String,
    caps: Caps,
    /// The first field whose number does not fit.
    pub too_big: Option<&'static str>,
}

impl Writer {
    pub fn new(caps: Caps) -> Self {
        Self { out: String::from("{"), caps, too_big: None }
    }

    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        escape_into(&mut self.out, text);
        self.out.push('"');
    }
}

impl Fields for Writer {
    fn text(&mut self, name: &'static str, value: &mut String, size: Size) {
        if value.is_empty() {
            return;
        }
        let cap = if size == Size::Short { self.caps.short } else { self.caps.long };
        self.name(name);
        match shorten(value, cap) {
            Some(short) => self.quoted(&short),
            None => self.quoted(value),
        }
    }

    fn number(&mut self, name: &'static str, value: &mut Option<u64>) {
        let Some(number) = *value else { return };
        if number > NUMBER_MAX {
            self.too_big.get_or_insert(name);
            return;
        }
        self.name(name);
        self.out.push_str(&number.to_string());
    }

    fn list(&mut self, name: &'static str, value: &mut Vec<String>) {
        if value.is_empty() {
            return;
        }
        self.name(name);
        self.out.push('[');
        for (at, item) in shorten_list(value, self.caps.long).iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.quoted(item);
        }
        self.out.push(']');
    }
}

/// Most values need no escapes; they are copied whole.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}

fn escape_into(out: &mut String, text: &str) {
    if is_plain(text) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = u32::from(*unit >> shift & 0xf);
                        out.push(char::from_digit(digit, 16).unwrap_or('0'));
                    }
                }
            }
        }
    }
}

fn escaped_len(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        ' '..='~' => 1,
        _ => 6 * c.len_utf16(),
    }
}

fn encoded_len(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.chars().map(escaped_len).sum()
}

/// SHA-256 in unpadded URL-safe base64: 43 characters.
fn digest_of(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(&[text.as_bytes()]))
}

/// `None` when the text fits; else its beginning, `~sha256:` and the hash of the whole.
fn shorten(text: &str, cap: usize) -> Option<String> {
    // An encoded character is at most six bytes per byte; long inputs are not measured to their end.
    if text.len() * 6 <= cap || (text.len() <= cap * 4 && encoded_len(text) <= cap) {
        return None;
    }
    let tail = format!("~sha256:{}", digest_of(text));
    let mut room = cap.saturating_sub(tail.len());
    let mut short: String = text
        .chars()
        .take_while(|c| {
            let fits = escaped_len(*c) <= room;
            room = room.saturating_sub(escaped_len(*c));
            fits
        })
        .collect();
    short.push_str(&tail);
    Some(short)
}

/// The list, or its beginning and `~N sha256:…` over all N items, each followed by a line feed.
fn shorten_list(list: &[String], cap: usize) -> Vec<String> {
    let cost = |item: &String| encoded_len(item) + 3;
    if list.iter().map(|item| item.len() * 6 + 3).sum::<usize>() <= cap {
        return list.to_vec();
    }
    if list.iter().map(cost).sum::<usize>() <= cap {
        return list.to_vec();
    }
    let joined: String = list.iter().flat_map(|item| [item.as_str(), "\n"]).collect();
    let tail = format!("~{} sha256:{}", list.len(), digest_of(&joined));
    let mut room = cap.saturating_sub(tail.len() + 3);
    let mut short = Vec::new();
    for item in list {
        if cost(item) > room {
            break;
        }
        room -= cost(item);
        short.push(item.clone());
    }
    short.push(tail);
    short
}

/// Reads what [`Writer`] wrote; anything unexpected sets `failed` and leaves the rest unread.
pub(crate) struct Reader<'a> {
    rest: &'a str,
    first: bool,
    failed: bool,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        match text.strip_prefix('{') {
            Some(rest) => Self { rest, first: true, failed: false },
            None => Self { rest: "", first: true, failed: true },
        }
    }

    /// Whether everything was read, up to the closing brace.
    pub fn finish(self) -> bool {
        !self.failed && self.rest == "}"
    }

    /// Moves past `"name":` when it comes next.
    fn at(&mut self, name: &str) -> bool {
        let next = || {
            let rest = if self.first { self.rest } else { self.rest.strip_prefix(',')? };
            rest.strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\":")
        };
        let Some(rest) = next() else { return false };
        self.rest = rest;
        self.first = false;
        true
    }

    fn eat(&mut self, token: char) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut rest = self.rest.strip_prefix('"')?;
        let (plain, after) = rest.split_once('"')?;
        if !plain.contains('\\') {
            self.rest = after;
            return Some(plain.to_owned());
        }
        let mut units: Vec<u16> = Vec::new();
        loop {
            let mut chars = rest.chars();
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'u' => {
                        let digits = chars.as_str().get(..4)?;
                        units.push(u16::from_str_radix(digits, 16).ok()?);
                        chars = chars.as_str().get(4..)?.chars();
                    }
                    escaped => units.push(u16::try_from(escaped as u32).ok()?),
                },
                plain => units.push(u16::try_from(plain as u32).ok()?),
            }
            rest = chars.as_str();
        }
        self.rest = rest.strip_prefix('"')?;
        String::from_utf16(&units).ok()
    }
}

impl Fields for Reader<'_> {
    fn text(&mut self, name: &'static str, value: &mut String, _: Size) {
        if self.at(name) {
            match self.string() {
                Some(text) => *value = text,
                None => self.failed = true,
            }
        }
    }

    fn number(&mut self, name: &'static str, value: &mut Option<u64>) {
        if self.at(name) {
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.rest.split_at(digits);
            self.rest = rest;
            *value = number.parse().ok();
            self.failed |= value.is_none_or(|number| number > NUMBER_MAX);
        }
    }

    fn list(&mut self, name: &'static str, value: &mut Vec<String>) {
        if !self.at(name) {
            return;
        }
        self.failed |= !self.eat('[');
        while !self.failed {
            match self.string() {
                Some(item) => value.push(item),
                None => self.failed = true,
            }
            if self.eat(']') {
                return;
            }
            self.failed |= !self.eat(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { short: 96, long: 512 };

    fn write(text: &str) -> String {
        let mut writer = Writer::new(CAPS);
        writer.text("t", &mut text.to_owned(), Size::Short);
        writer.finish()
    }

    #[test]
    fn texts() {
        for (text, expect) in [
            ("", "{}"),
            ("plain", r#"{"t":"plain"}"#),
            ("'\n{\"decision\":\"allow\"}'", r#"{"t":"'\u000a{\"decision\":\"allow\"}'"}"#),
            ("a\r\nb", r#"{"t":"a\u000d\u000ab"}"#),
            ("\u{2028}\u{2029}", r#"{"t":"\u2028\u2029"}"#),
            ("\u{1b}[31mred", r#"{"t":"\u001b[31mred"}"#),
            ("\u{7f}\0", r#"{"t":"\u007f\u0000"}"#),
            ("户籍", r#"{"t":"\u6237\u7c4d"}"#),
            ("𠮷", r#"{"t":"\ud842\udfb7"}"#),
            ("\u{202e}x", r#"{"t":"\u202ex"}"#),
            ("back\\slash", r#"{"t":"back\\slash"}"#),
        ] {
            assert_eq!(write(text), expect);
            let mut read = String::new();
            let mut reader = Reader::new(expect);
            reader.text("t", &mut read, Size::Short);
            assert!(reader.finish(), "{expect}");
            assert_eq!(read, text);
        }
    }

    #[test]
    fn long_texts_end_in_their_hash() {
        let megabyte = "x".repeat(1 << 20);
        let written = write(&megabyte);
        assert_eq!(written.len(), 96 + 8);
        assert!(written.contains(&format!("xx~sha256:{}", digest_of(&megabyte))));
        let chinese = "户".repeat(17);
        assert!(write(&chinese).len() <= 96 + 8 && write(&chinese).contains("~sha256:"));
        assert!(!write(&"户".repeat(16)).contains("sha256"));
    }

    #[test]
    fn lists_keep_what_fits() {
        let list: Vec<String> = (0..100).map(|n| format!("item_{n:03}")).collect();
        let short = shorten_list(&list, 512);
        assert!(short.len() > 30 && short.last().is_some_and(|last| last.starts_with("~100 sha256:")));
        assert_eq!(shorten_list(&short, 512), short, "writing twice changes nothing");
        assert_eq!(shorten_list(&list, 66).len(), 1);
    }

    #[test]
    fn readers_refuse() {
        for text in
            ["", "{", "{}x", r#"{"u":"x"}"#, r#"{"t":"x"#, r#"{"t":x}"#, r#"{"t":"\ud842"}"#, r#"{,"t":"x"}"#]
        {
            let mut reader = Reader::new(text);
            reader.text("t", &mut String::new(), Size::Short);
            assert!(!reader.finish(), "{text}");
        }
    }
}
