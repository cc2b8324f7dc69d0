//! Who is it: a bearer token becomes a `Caller`, and nothing else does.
//!
//! A token only identifies; roles, department and attributes come from the store at every call.
//! INVARIANT: the only place that calls `Caller::verified` (kept by `tests/tidy.rs`).

pub mod fetch;
pub mod issuers;
pub mod keys;
pub mod signing;
pub mod token;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use catalog::DepartmentId;
use policies::{AccountKind, Caller, Identity, Role};

use crate::clock::{Clock, SECOND_US};
use crate::config::AuthnConfig;
use crate::error::Error;
use crate::store::Store;
use crate::store::organisation::Account;
use issuers::{IssuerError, Issuers};
use keys::KeySet;
use token::{Claims, Token};

/// Clock difference between an issuer and the hub that is forgiven.
pub const LEEWAY_S: i64 = 30;
/// Life of a system's own assertion.
pub const ASSERTION_LIFE_MAX_S: i64 = 300;
const VERIFIED_MAX: usize = 50_000;

/// Turns tokens into callers.
pub struct Authn {
    audience: String,
    issuers: Issuers,
    clock: Clock,
    /// Signatures already checked: token digest → what it said, until it expires or facts change.
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone)]
struct Verified {
    claims: Claims,
    /// Store revision at which the signature was checked: a changed system key makes it stale.
    revision: i64,
    /// Version of the issuer's keys that checked it: other keys make it stale.
    keys: u64,
}

impl std::fmt::Debug for Authn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authn").field("audience", &self.audience).finish_non_exhaustive()
    }
}

const BAD_TOKEN: Error =
    Error::Unauthenticated("the token is not valid here; get a new one from your issuer");

impl Authn {
    pub fn new(audience: &str, config: &AuthnConfig, clock: Clock) -> Result<Self, IssuerError> {
        let issuers = Issuers::new(config, &clock)?;
        Ok(Self { audience: audience.to_owned(), issuers, clock, verified: Mutex::new(HashMap::new()) })
    }

    /// Once a second while the hub runs: the issuers' keys are kept as the issuers publish them.
    pub fn keep(&self) {
        self.issuers.keep();
    }

    /// The caller behind an `Authorization` header, acting for the named department or the only one there is.
    pub async fn caller(
        &self,
        store: &Store,
        authorization: Option<&str>,
        department: Option<&str>,
    ) -> Result<Caller, Error> {
        let text = authorization
            .ok_or(Error::Unauthenticated("send `authorization: bearer` with a token of your issuer"))
            .and_then(bearer)?;
        let digest = digest(text);
        let claims = match self.known(&digest, store.revision()) {
            Some(claims) => claims,
            None => self.verify(store, text, digest).await?,
        };
        self.check_times(&claims)?;
        let account = store
            .account(&claims.iss, &claims.sub)
            .await
            .map_err(|_cause| Error::Overloaded)?
            .filter(|account| !account.disabled)
            .ok_or(BAD_TOKEN)?;
        self.identify(store, &account, &claims, department).await
    }

    fn known(&self, digest: &[u8; 32], revision: i64) -> Option<Claims> {
        let verified = self.verified.lock().ok()?;
        let known = verified.get(digest).filter(|known| known.revision == revision)?;
        (known.keys == self.issuers.version(&known.claims.iss)).then(|| known.claims.clone())
    }

    async fn verify(&self, store: &Store, text: &str, digest: [u8; 32]) -> Result<Claims, Error> {
        let revision = store.revision();
        let token = Token::parse(text).ok_or(BAD_TOKEN)?;
        let (claims, keys) = match self.issuers.get(&token.claims().iss) {
            Some(issuer) => {
                let keys = issuer.keys_with(token.kid()).await;
                let claims = token.verify(&keys.set).ok_or(BAD_TOKEN)?;
                let claims =
                    (claims.exp - claims.iat <= issuer.life_max_s).then_some(claims).ok_or(BAD_TOKEN)?;
                (claims, keys.version)
            }
            None => (self.verify_assertion(store, token).await?, 0),
        };
        if !claims.aud.is_exactly(&self.audience) {
            return Err(BAD_TOKEN);
        }
        if let Ok(mut verified) = self.verified.lock() {
            if verified.len() >= VERIFIED_MAX {
                verified.clear();
            }
            verified.insert(digest, Verified { claims: claims.clone(), revision, keys });
        }
        Ok(claims)
    }

    /// A system's own short assertion: issuer and subject are its id, the key is registered with it.
    async fn verify_assertion(&self, store: &Store, token: Token<'_>) -> Result<Claims, Error> {
        let id = token.claims().iss.clone();
        if token.claims().sub != id {
            return Err(BAD_TOKEN);
        }
        let account = store.account(&id, &id).await.map_err(|_cause| Error::Overloaded)?;
        let account = account.filter(|account| account.kind == AccountKind::System).ok_or(BAD_TOKEN)?;
        let keys = KeySet::from_keys(&account.keys).map_err(|_cause| BAD_TOKEN)?;
        let claims = token.verify(&keys).ok_or(BAD_TOKEN)?;
        (claims.exp - claims.iat <= ASSERTION_LIFE_MAX_S).then_some(claims).ok_or(BAD_TOKEN)
    }

    fn check_times(&self, claims: &Claims) -> Result<(), Error> {
        let now_s = self.clock.now_us() / SECOND_US;
        let in_time = now_s < claims.exp.saturating_add(LEEWAY_S)
            && claims.nbf <= now_s.saturating_add(LEEWAY_S)
            && claims.iat <= now_s.saturating_add(LEEWAY_S)
            && claims.iat <= claims.exp;
        if in_time {
            Ok(())
        } else {
            Err(Error::Unauthenticated(
                "the token has expired or is not valid yet; get a new one from your issuer",
            ))
        }
    }

    async fn identify(
        &self,
        store: &Store,
        account: &Account,
        claims: &Claims,
        department: Option<&str>,
    ) -> Result<Caller, Error> {
        let department = acting_for(account, department)?;
        let facts =
            store.department(&department).await.map_err(|_cause| Error::Overloaded)?.ok_or(BAD_TOKEN)?;
        let roles: BTreeSet<Role> =
            account.posts.iter().filter(|post| post.department == department).map(|post| post.role).collect();
        let attributes = BTreeMap::from([
            ("region_code".to_owned(), facts.region_code.clone()),
            ("department".to_owned(), department.0.clone()),
            ("account".to_owned(), account.id.clone()),
        ]);
        Ok(Caller::verified(Identity {
            account: account.id.clone(),
            kind: account.kind,
            department,
            roles,
            attributes,
            valid_until: claims.exp.saturating_add(LEEWAY_S).saturating_mul(SECOND_US),
        }))
    }

    /// The hub's own caller for maintenance; it holds no role, only its rules permit it.
    pub fn hub(&self) -> Caller {
        Caller::verified(Identity {
            account: "hub".to_owned(),
            kind: AccountKind::Hub,
            department: DepartmentId("hub".to_owned()),
            roles: BTreeSet::new(),
            attributes: BTreeMap::new(),
            valid_until: i64::MAX,
        })
    }
}

fn acting_for(account: &Account, named: Option<&str>) -> Result<DepartmentId, Error> {
    let departments: BTreeSet<&DepartmentId> = account.posts.iter().map(|post| &post.department).collect();
    match named {
        Some(named) => {
            departments.into_iter().find(|department| department.as_str() == named).cloned().ok_or(
                Error::Unauthenticated(
                    "the account has no post in the department named in `tongqu-department`",
                ),
            )
        }
        None => match departments.len() {
            1 => departments.into_iter().next().cloned().ok_or(BAD_TOKEN),
            _ => Err(Error::invalid(
                "",
                "the account has posts in several departments; send header `tongqu-department`",
            )),
        },
    }
}

fn bearer(header: &str) -> Result<&str, Error> {
    let (scheme, token) = header.split_once(' ').ok_or(BAD_TOKEN)?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= token::TOKEN_BYTES_MAX;
    fits.then_some(token).ok_or(BAD_TOKEN)
}

fn digest(text: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
