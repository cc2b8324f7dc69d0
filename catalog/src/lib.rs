//! What is there to share, and who answers for it: catalogue entries, items, code tables and identifiers.
//!
//! INVARIANT: pure types and rules; knows neither SQL nor HTTP nor DataFusion (Arrow schema types are fine).

pub mod fault;
pub mod ids;
pub mod resource;

pub use fault::{Fault, Faults};
pub use ids::{DepartmentId, ResourceId, ResourceName};
pub use resource::{Binding, Classification, FileFormat, Item, ItemType, Resource, SharingClass};
