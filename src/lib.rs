//! Tongqu (通衢): who asks, in what order things happen, and what is on record.

pub mod clock;
