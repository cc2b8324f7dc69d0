//! What is there to share, and who answers for it: catalogue entries, items, code tables and identifiers.
//!
//! INVARIANT: pure types and rules; knows neither SQL nor HTTP nor DataFusion (Arrow schema types are fine).

pub mod check;
pub mod division;
pub mod fault;
pub mod identifier;
pub mod ids;
pub mod library;
pub mod purpose;
pub mod resource;

pub use division::{Division, DivisionLevel, Divisions};
pub use fault::{Fault, Faults};
pub use ids::{DepartmentId, ResourceId, ResourceName};
pub use library::{embedded, load_library};
pub use purpose::{Purpose, Purposes};
pub use resource::{Binding, Classification, FileFormat, Item, ItemType, Resource, SharingClass};
