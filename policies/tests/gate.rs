//! The statement gate against the attack list (A001–A157) and cases of our own.
//!
//! Cases that need a fixture (which rows come back) are elsewhere; here only what the gate itself decides.

#[path = "gate/attacks.rs"]
mod attacks;
#[path = "gate/bounds.rs"]
mod bounds;
#[path = "gate/extremes.rs"]
mod extremes;
#[path = "gate/lexis.rs"]
mod lexis;
#[path = "gate/planned.rs"]
mod planned;
#[path = "gate/soup.rs"]
mod soup;
#[path = "gate/told.rs"]
mod told;

use policies::{GateLimits, Limit, StatementFault, check};

/// What the gate answers, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accept,
    Syntax,
    Stmt,
    /// With the name as written.
    Func(&'static str),
    Over(Limit),
}

fn answer(sql: &str) -> Result<Answer, String> {
    match check(sql, &GateLimits::default()) {
        Ok(_) => Ok(Answer::Accept),
        Err(StatementFault::Syntax { line, column }) if line > 0 && column > 0 => Ok(Answer::Syntax),
        Err(StatementFault::StatementNotAllowed(_)) => Ok(Answer::Stmt),
        Err(StatementFault::TooComplex(limit, _)) => Ok(Answer::Over(limit)),
        Err(StatementFault::FunctionNotAllowed(name)) => Err(name),
        Err(other) => panic!("{other:?}"),
    }
}

/// A name, the statement, the answer.
type Case = (&'static str, &'static str, Answer);

/// Every case, then all that differ at once.
fn check_all(cases: &[Case]) {
    let mut wrong = Vec::new();
    for (id, sql, expect) in cases {
        let got = answer(sql);
        let same = match (&got, expect) {
            (Ok(got), expect) => got == expect,
            (Err(name), Answer::Func(expected)) => name == expected,
            (Err(_), _) => false,
        };
        if !same {
            wrong.push(format!("{id} {sql:?}: expected {expect:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
