//! The members of one JSON object: names, and cells whose numbers stay the text they are written in.
//!
//! INVARIANT: what is not JSON (RFC 8259), such as `NaN` or half of a surrogate pair, is an error, never a guess.

use std::borrow::Cow;

use crate::json_records::DEPTH_MAX;

/// A member's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Boolean(bool),
    /// As written: `1.50` is not `1.5` yet, and no digit is lost.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// An object or a list.
    Nested,
}

/// What is wrong with a record, without a word of it.
pub(crate) type Fault = &'static str;

const BROKEN: Fault = "is not JSON";

/// Hands name and value of every member to `take`.
pub(crate) fn members<'a>(
    record: &'a [u8],
    mut take: impl FnMut(Cow<'a, str>, Cell<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let text = std::str::from_utf8(record).map_err(|_| "is not UTF-8")?;
    let mut cursor = Cursor { text, at: 0 };
    cursor.expect(b'{')?;
    if !cursor.eat(b'}') {
        loop {
            cursor.space();
            let name = cursor.text()?;
            cursor.expect(b':')?;
            let cell = cursor.value(1)?;
            take(name, cell)?;
            if !cursor.eat(b',') {
                cursor.expect(b'}')?;
                break;
            }
        }
    }
    cursor.space();
    if cursor.peek().is_none() { Ok(()) } else { Err(BROKEN) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes over white space and then `byte`, if it is there.
    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(BROKEN) }
    }

    fn since(&self, start: usize) -> Result<&'a str, Fault> {
        self.text.get(start..self.at).ok_or(BROKEN)
    }

    fn value(&mut self, depth: usize) -> Result<Cell<'a>, Fault> {
        self.space();
        match self.peek().ok_or(BROKEN)? {
            b'"' => Ok(Cell::Text(self.text()?)),
            b'n' => self.word("null", Cell::Null),
            b't' => self.word("true", Cell::Boolean(true)),
            b'f' => self.word("false", Cell::Boolean(false)),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' if depth >= DEPTH_MAX => Err("is nested too deep"),
            b'{' => {
                self.at += 1;
                if !self.eat(b'}') {
                    loop {
                        self.space();
                        self.text()?;
                        self.expect(b':')?;
                        self.value(depth + 1)?;
                        if !self.eat(b',') {
                            self.expect(b'}')?;
                            break;
                        }
                    }
                }
                Ok(Cell::Nested)
            }
            b'[' => {
                self.at += 1;
                if !self.eat(b']') {
                    loop {
                        self.value(depth + 1)?;
                        if !self.eat(b',') {
                            self.expect(b']')?;
                            break;
                        }
                    }
                }
                Ok(Cell::Nested)
            }
            _ => Err(BROKEN),
        }
    }

    fn word(&mut self, word: &str, cell: Cell<'a>) -> Result<Cell<'a>, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(BROKEN);
        }
        self.at += word.len();
        Ok(cell)
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(BROKEN) }
    }

    fn number(&mut self) -> Result<Cell<'a>, Fault> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Cell::Number(self.since(start)?))
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(BROKEN);
        }
        self.at += 1;
        let mut start = self.at;
        let mut made: Option<String> = None;
        loop {
            match self.peek().ok_or(BROKEN)? {
                b'"' => {
                    let rest = self.since(start)?;
                    self.at += 1;
                    return Ok(match made {
                        Some(text) => Cow::Owned(text + rest),
                        None => Cow::Borrowed(rest),
                    });
                }
                b'\\' => {
                    let before = self.since(start)?;
                    let text = made.get_or_insert_default();
                    text.push_str(before);
                    let escaped = self.escape()?;
                    made.get_or_insert_default().push(escaped);
                    start = self.at;
                }
                0..=0x1f => return Err(BROKEN),
                _ => self.at += 1,
            }
        }
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let kind = self.peek().ok_or(BROKEN)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                let code = match unit {
                    0xd800..=0xdbff => {
                        if self.peek() != Some(b'\\') {
                            return Err(BROKEN);
                        }
                        self.at += 1;
                        if self.peek() != Some(b'u') {
                            return Err(BROKEN);
                        }
                        self.at += 1;
                        let low =
                            self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(BROKEN)?;
                        0x1_0000 + ((unit - 0xd800) << 10) + low
                    }
                    other => other,
                };
                char::from_u32(code).ok_or(BROKEN)?
            }
            _ => return Err(BROKEN),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Fault> {
        let start = self.at;
        self.at += 4;
        let digits = self.since(start)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BROKEN);
        }
        u32::from_str_radix(digits, 16).map_err(|_| BROKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: impl AsRef<[u8]>, expect: Result<&str, Fault>) {
        let record = record.as_ref();
        let mut shown = Vec::new();
        let read = members(record, |name, cell| {
            shown.push(format!("{name}={cell:?}"));
            Ok(())
        });
        let shown = read.map(|()| shown.join(" "));
        assert_eq!(shown.as_deref(), expect.as_deref(), "{:?}", String::from_utf8_lossy(record));
    }

    #[test]
    fn members_are_read_as_they_are_written() {
        check("{}", Ok(""));
        check(" { \"a\" : 1.50 , \"b\":null }\n", Ok("a=Number(\"1.50\") b=Null"));
        check(
            r#"{"a":-0.1e+5,"b":true,"c":false,"d":"x"}"#,
            Ok(r#"a=Number("-0.1e+5") b=Boolean(true) c=Boolean(false) d=Text("x")"#),
        );
        check(
            r#"{"a":{"b":[1,{"c":[]}]},"d":[],"e":"\"\\\/\b\n\u00e9\ud83d\ude00张"}"#,
            Ok(r#"a=Nested d=Nested e=Text("\"\\/\u{8}\né😀张")"#),
        );
        check(format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63)), Ok("a=Nested"));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in [
            "",
            "{",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1}{}",
            "{\"a\":01}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":0x1}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":-Infinity}",
            "{\"a\":nul}",
            "{\"a\":True}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\\u张\"}",
            "{\"a\":[1}",
            "{\"a\":[1,]}",
            "{\"a\":{\"b\"}}",
            "{\"a\":\"",
            "[1]",
            "{\"a\":1} x",
        ] {
            check(text, Err(BROKEN));
        }
        check(b"{\"a\":\"\xd0\xd5\"}", Err("is not UTF-8"));
        check(format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64)), Err("is nested too deep"));
    }
}
