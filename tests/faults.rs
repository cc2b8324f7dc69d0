//! What goes wrong, done to the real binary: kills, damage, a second hub, doubtful set-ups, a full disk.

mod belief;
mod clocks;
mod command;
mod crash;
mod damage;
pub mod independent;
pub mod judge;
mod ledger;
pub mod process;
mod space;
mod storage;
mod syscalls;
