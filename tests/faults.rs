//! What goes wrong, done to the real binary: kills, damage, a second hub, doubtful set-ups, a full disk.

mod belief;
mod command;
mod crash;
mod damage;
mod independent;
mod judge;
mod ledger;
mod process;
mod space;
