//! Names that point at things, as newtypes so that one cannot stand where another belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

id!(
    /// A department's short name in this hub, e.g. `public-security`; its social credit code is a field.
    DepartmentId
);
id!(
    /// `res_` and a UUIDv7.
    ResourceId
);
id!(
    /// SQL name and API name of a resource, `library.resource`, e.g. `population.resident`.
    ResourceName
);

impl ResourceName {
    /// Library and resource part, when the name has exactly two lower-case parts.
    pub fn parts(&self) -> Option<(&str, &str)> {
        let (library, resource) = self.0.split_once('.')?;
        (is_name(library) && is_name(resource)).then_some((library, resource))
    }
}

/// A lower-case SQL name: `[a-z][a-z0-9_]{0,62}`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
