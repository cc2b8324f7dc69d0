//! Pseudonyms: keyed digests that link rows for one department and one purpose and tell nothing else.
//!
//! INVARIANT: a key is never shown, also not by `Debug`.

use std::fmt;

use aws_lc_rs::hmac;
use catalog::DepartmentId;
use catalog::identifier::normalise;

/// Separates this use of the key from every other, and one version of the rule from the next.
const DOMAIN: &[u8] = b"tongqu/pseudonym/v1";
/// Bytes of the digest that are shown: 128 bits, 32 hex digits.
const SHOWN_BYTES: usize = 16;

/// HMAC-SHA-256 key: the hub's master key, or the one derived from it for a department and a purpose.
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl PseudonymKey {
    /// The hub's master key.
    pub fn master(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The key of one grantee department and purpose: others' pseudonyms of the same value do not match.
    pub fn derive(&self, grantee: &DepartmentId, purpose: &str) -> Self {
        let mut text = DOMAIN.to_vec();
        for part in [grantee.as_str(), purpose] {
            // The length keeps (`ab`, `c`) and (`a`, `bc`) apart.
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.0, &text).as_ref()))
    }

    /// `p:` and 32 hex digits; the same person written in two ways gets one pseudonym.
    pub(crate) fn pseudonym(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, normalise(text).as_bytes());
        let mut shown = String::with_capacity(2 + 2 * SHOWN_BYTES);
        shown.push_str("p:");
        for byte in tag.as_ref().iter().take(SHOWN_BYTES) {
            for nibble in [byte >> 4, byte & 15] {
                shown.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        shown
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}
