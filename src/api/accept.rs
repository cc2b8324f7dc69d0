//! Which format an answer has: the `Accept` header by RFC 9110, section 12.5.1.

use axum::http::{HeaderMap, header};

use crate::engine::encode::Format;
use crate::error::Error;

/// One media range of the header.
struct Range {
    /// 3 for `a/b`, 2 for `a/*`, 1 for `*/*`.
    sharpness: u8,
    text: String,
    /// Thousandths.
    quality: u16,
}

impl Range {
    /// None for what is no media range; its parameters but `q` are not looked at.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let media = parts.next()?.trim().to_ascii_lowercase();
        let (kind, rest) = media.split_once('/')?;
        let sharpness = match (kind, rest) {
            ("*", "*") => 1,
            ("*", _) => return None,
            (_, "*") => 2,
            _ => 3,
        };
        let mut quality = 1000;
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                quality = thousandths(value.trim())?;
            }
        }
        Some(Self { sharpness, text: media, quality })
    }

    fn covers(&self, format: Format) -> bool {
        let media = format.media_type();
        match self.sharpness {
            1 => true,
            2 => media.split('/').next() == self.text.split('/').next(),
            _ => media == self.text,
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three places, at most one.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = places.len() <= 3 && places.bytes().all(|digit| digit.is_ascii_digit());
    let places: u16 = format!("{places:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(places),
        "1" if places == 0 => Some(1000),
        _ => None,
    }
}

/// What the caller wants most of what there is. Of several wanted alike: the one it names more sharply, then the one the
/// hub prefers.
pub fn format(headers: &HeaderMap) -> Result<Format, Error> {
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return Ok(Format::Json);
    }
    let texts = accepts.filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range> = texts.flat_map(|value| value.split(',')).filter_map(Range::read).collect();
    let mut best: Option<((u16, u8), Format)> = None;
    for format in Format::ALL {
        // The sharpest range that covers a format is the one that counts for it.
        let counts = ranges.iter().filter(|range| range.covers(format)).max_by_key(|range| range.sharpness);
        let Some(range) = counts.filter(|range| range.quality > 0) else { continue };
        let wanted = (range.quality, range.sharpness);
        if best.is_none_or(|(most, _)| wanted > most) {
            best = Some((wanted, format));
        }
    }
    best.map(|(_, format)| format).ok_or(Error::NotAcceptable)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(accepts: &[&str], expect: Option<Format>) {
        let mut headers = HeaderMap::new();
        for accept in accepts {
            headers.append(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        }
        assert_eq!(format(&headers).ok(), expect, "{accepts:?}");
    }

    #[test]
    fn the_best_of_what_there_is_is_chosen() {
        use Format::*;
        check(&[], Some(Json));
        check(&["*/*"], Some(Json));
        check(&["application/*"], Some(Json));
        check(&["text/*"], Some(Csv));
        check(&["text/csv"], Some(Csv));
        check(&["Text/CSV;header=absent"], Some(Csv));
        check(&["application/x-ndjson"], Some(Lines));
        check(&["application/vnd.apache.parquet"], Some(Parquet));
        check(&["application/vnd.apache.arrow.stream, */*"], Some(Arrow));
        check(&["text/csv;q=0.5, application/json;q=0.4"], Some(Csv));
        check(&["text/csv;q=0.5, application/json"], Some(Json));
        check(&["text/csv;q=0.5", "application/vnd.apache.parquet ; Q=0.501"], Some(Parquet));
        check(&["*/*, application/json;q=0"], Some(Arrow));
        check(&["application/*;q=0, */*;q=0.1"], Some(Csv));
        check(&["text/html, application/xhtml+xml, */*;q=0.8"], Some(Json));
        check(&["application/json;q=0"], None);
        check(&["*/*;q=0"], None);
        check(&["*/*;q=0.000"], None);
        check(&["text/html"], None);
        check(&["application/jsonx", "text/csvx"], None);
        check(&["*/csv", "csv", "", ",", ";q=1"], None);
        check(&["text/csv;q=2"], None);
        check(&["text/csv;q=0.1234"], None);
        check(&["text/csv;q=x, application/json;q=1.0"], Some(Json));
    }
}
