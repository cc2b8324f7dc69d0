//! What a caller is told: every outcome but success, its HTTP status, code and problem document, in this one file.
//!
//! INVARIANT: no text here carries a value, a column of hidden data, or another department's name.
//! Problems are RFC 9457 `application/problem+json`; codes are stable.

use catalog::Faults;
use policies::decide::{Reason, Refusal};
use serde::Serialize;

pub const NOT_FOUND: &str = "no such resource or item, or no grant of yours for it; check the spelling, see /v1/resources for what there is and /v1/grants for what is granted to you";

/// Outcomes a client can act on; causes are logged where they happen and never sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the answer has more than {max} {unit}; narrow the question or ask for a larger grant")]
    TooManyRows { max: u64, unit: &'static str },
    #[error("{0}")]
    Unauthenticated(&'static str),
    #[error("{what}; try again after {retry_after_s} s")]
    Limit { what: &'static str, retry_after_s: u64 },
    /// A rate, unlike a quota, is counted per window and not recorded one by one: a flood must not fill the record.
    #[error("{what}; try again after {retry_after_s} s")]
    Rate { what: &'static str, retry_after_s: u64 },
    #[error("the head of a call has at most {max} bytes and a hundred headers; send less")]
    HeadTooLarge { max: usize },
    #[error("the {what} is larger than {max} bytes")]
    TooLarge { what: &'static str, max: usize },
    #[error("the input has faults; mend every one listed")]
    Invalid(Faults),
    /// The message itself is not HTTP as it should be.
    #[error("{0}")]
    Malformed(&'static str),
    #[error("send `content-type: application/json`")]
    MediaType,
    #[error(
        "ask for `application/json`, `application/vnd.apache.arrow.stream`, `application/x-ndjson`, `text/csv` or \
         `application/vnd.apache.parquet`"
    )]
    NotAcceptable,
    #[error("this path does not take this method; see /openapi.json")]
    Method,
    #[error("{0}")]
    StatementNotAllowed(String),
    #[error("{0}")]
    FunctionNotAllowed(String),
    #[error("{0}")]
    TooComplex(String),
    #[error("{NOT_FOUND}")]
    NotFound,
    #[error("refused by rule; see the reasons and where to apply")]
    Refused(Refusal),
    #[error("several of your grants fit; name one in `grants`")]
    WhichGrant(Vec<String>),
    #[error("{0}")]
    Conflict(String),
    #[error("send `if-match` with the version you read; it is in `etag`")]
    PreconditionRequired,
    #[error("another version is in force; read it again and send its `etag` in `if-match`")]
    PreconditionFailed,
    #[error("the expression fails on data you may see; guard it with `case` or `nullif`")]
    ExpressionFailed,
    #[error("the deadline passed; narrow the question")]
    Deadline,
    #[error("the statement needs more memory than one call may use; narrow it")]
    TooMuchMemory,
    #[error("the hub has too much to do; try again shortly")]
    Overloaded,
    #[error("the record cannot be written, so nothing is answered; try again shortly")]
    RecordUnavailable,
    #[error("{0}")]
    SourceUnavailable(&'static str),
    /// The client went away before the answer was ready: recorded, never sent.
    #[error("the client went away")]
    Cancelled,
}

impl Error {
    /// One fault at one place.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let mut faults = Faults::default();
        faults.add(pointer, message);
        Self::Invalid(faults)
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unauthenticated(_) => 401,
            Self::Refused(_) => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::WhichGrant(_) | Self::Conflict(_) => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge { .. } => 413,
            Self::HeadTooLarge { .. } => 431,
            Self::MediaType => 415,
            Self::TooManyRows { .. }
            | Self::Invalid(_)
            | Self::StatementNotAllowed(_)
            | Self::FunctionNotAllowed(_)
            | Self::TooComplex(_)
            | Self::ExpressionFailed
            | Self::TooMuchMemory => 422,
            Self::PreconditionRequired => 428,
            Self::Limit { .. } | Self::Rate { .. } => 429,
            Self::Cancelled => 499,
            Self::SourceUnavailable(_) => 502,
            Self::Overloaded | Self::RecordUnavailable => 503,
            Self::Deadline => 504,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::TooManyRows { .. } => "too_many_rows",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Limit { .. } | Self::Rate { .. } => "limit",
            Self::TooLarge { .. } | Self::HeadTooLarge { .. } => "too_large",
            Self::Invalid(_) | Self::Malformed(_) | Self::MediaType | Self::NotAcceptable | Self::Method => {
                "invalid"
            }
            Self::StatementNotAllowed(_) => "statement_not_allowed",
            Self::FunctionNotAllowed(_) => "function_not_allowed",
            Self::TooComplex(_) => "too_complex",
            Self::NotFound => "not_found",
            Self::Refused(_) => "refused",
            Self::WhichGrant(_) => "which_grant",
            Self::Conflict(_) | Self::PreconditionRequired | Self::PreconditionFailed => "conflict",
            Self::ExpressionFailed => "expression_failed",
            Self::Deadline => "deadline",
            Self::TooMuchMemory => "too_much_memory",
            Self::Overloaded => "overloaded",
            Self::RecordUnavailable => "record_unavailable",
            Self::SourceUnavailable(_) => "source_unavailable",
            Self::Cancelled => "cancelled",
        }
    }

    /// Seconds a client should wait, where waiting helps.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Limit { retry_after_s, .. } | Self::Rate { retry_after_s, .. } => Some(*retry_after_s),
            // Spread, or all who were told come back together.
            Self::Overloaded | Self::RecordUnavailable => Some(rand::random_range(1..=3)),
            _ => None,
        }
    }

    /// Ids of the rules that refused, for the record.
    pub fn rules(&self) -> Vec<String> {
        match self {
            Self::Refused(refusal) => refusal.reasons.iter().map(|reason| reason.rule.clone()).collect(),
            _ => Vec::new(),
        }
    }

    pub fn problem(&self) -> Problem {
        let code = self.code();
        let (title, title_zh) = titles(code);
        Problem {
            kind: format!("urn:tongqu:problem:{code}"),
            title,
            title_zh,
            status: self.status(),
            code,
            detail: self.to_string(),
            faults: match self {
                Self::Invalid(faults) => faults.clone(),
                _ => Faults::default(),
            },
            reasons: match self {
                Self::Refused(refusal) => refusal.reasons.clone(),
                _ => Vec::new(),
            },
            grants: match self {
                Self::WhichGrant(grants) => grants.clone(),
                _ => Vec::new(),
            },
        }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub title_zh: &'static str,
    pub status: u16,
    pub code: &'static str,
    pub detail: String,
    #[serde(skip_serializing_if = "no_faults")]
    pub faults: Faults,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

fn no_faults(faults: &Faults) -> bool {
    faults.0.is_empty()
}

fn titles(code: &str) -> (&'static str, &'static str) {
    match code {
        "too_many_rows" => ("too many rows", "结果超出上限"),
        "unauthenticated" => ("not signed in", "未通过身份认证"),
        "limit" => ("a limit is reached", "已达到限额"),
        "too_large" => ("too large", "请求过大"),
        "statement_not_allowed" => ("statement not allowed", "不允许的语句"),
        "function_not_allowed" => ("function not allowed", "不允许的函数"),
        "too_complex" => ("too complex", "语句过于复杂"),
        "not_found" => ("not found", "未找到"),
        "refused" => ("refused", "不予授权"),
        "which_grant" => ("which grant", "需指明所用授权"),
        "conflict" => ("conflict", "状态冲突"),
        "expression_failed" => ("expression failed", "表达式计算失败"),
        "deadline" => ("deadline passed", "已超时"),
        "too_much_memory" => ("too much memory", "内存超出上限"),
        "overloaded" => ("overloaded", "系统繁忙"),
        "record_unavailable" => ("record unavailable", "审计记录不可用"),
        "source_unavailable" => ("source unavailable", "数据源不可用"),
        "cancelled" => ("cancelled", "已取消"),
        _ => ("invalid input", "输入有误"),
    }
}

impl From<Faults> for Error {
    fn from(faults: Faults) -> Self {
        Self::Invalid(faults)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_codes_are_the_table_of_the_api() {
        let check = |error: Error, status: u16, code: &str| {
            assert_eq!((error.status(), error.code()), (status, code));
            assert_eq!(error.problem().kind, format!("urn:tongqu:problem:{code}"));
        };
        check(Error::TooManyRows { max: 1, unit: "rows" }, 422, "too_many_rows");
        check(Error::Unauthenticated("x"), 401, "unauthenticated");
        check(Error::Limit { what: "rate", retry_after_s: 3 }, 429, "limit");
        check(Error::TooLarge { what: "body", max: 1 }, 413, "too_large");
        check(Error::invalid("/a", "b"), 422, "invalid");
        check(Error::MediaType, 415, "invalid");
        check(Error::HeadTooLarge { max: 1 }, 431, "too_large");
        check(Error::Malformed("x"), 400, "invalid");
        check(Error::NotAcceptable, 406, "invalid");
        check(Error::Method, 405, "invalid");
        check(Error::NotFound, 404, "not_found");
        check(Error::WhichGrant(vec![]), 409, "which_grant");
        check(Error::Conflict(String::new()), 409, "conflict");
        check(Error::ExpressionFailed, 422, "expression_failed");
        check(Error::Deadline, 504, "deadline");
        check(Error::TooMuchMemory, 422, "too_much_memory");
        check(Error::Overloaded, 503, "overloaded");
        check(Error::RecordUnavailable, 503, "record_unavailable");
        check(Error::SourceUnavailable("x"), 502, "source_unavailable");
    }
}
