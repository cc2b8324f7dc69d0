//! One binary for every test that speaks to a whole hub or looks at the whole tree.

mod attacks;
mod every_endpoint;
mod exhaust;
mod faults;
mod fuzz;
mod leaks;
mod licences;
mod noninterference;
mod openapi;
mod postgres_base;
#[path = "../connectors/src/tests/postgres_server.rs"]
#[allow(dead_code, reason = "the connectors' own tests use all of it")]
mod postgres_server;
mod remote;
mod straight_line;
mod supervised;
mod support;
mod switches;
mod tamper;
mod tidy;
mod tls;
mod tokens;
