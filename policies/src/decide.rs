//! One Cedar decision per call and resource: `Caller` + `Ask` + grant facts → `Permit` or `Refusal`.
//!
//! INVARIANT: anything unset, unknown or failing inside a rule refuses; a rule that errs never permits.
//! Rules are few and grants are context, so a decision costs the same with 100 or 100,000 grants.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use catalog::{Resource, ResourceName, SharingClass};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use serde::Serialize;

use crate::ask::Ask;
use crate::caller::{AccountKind, Caller};
use crate::grant::{Grant, GrantState};
use crate::mask::PseudonymKey;
use crate::permit::Permit;
use crate::sight::Sight;

/// Why not: rules by id, each with what it says and where to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Id of the rule, `@id` in `rules/*.cedar`.
    pub rule: String,
    pub message: String,
    pub apply: String,
}

impl Refusal {
    fn one(rule: &str, message: &str, apply: &str) -> Self {
        Self {
            reasons: vec![Reason {
                rule: rule.to_owned(),
                message: message.to_owned(),
                apply: apply.to_owned(),
            }],
        }
    }
}

/// A rule file that cannot be law.
#[derive(Debug, thiserror::Error)]
pub enum LawError {
    #[error("rule file `{file}` cannot be read as Cedar: {cause}")]
    Parse { file: String, cause: String },
    #[error("rule file `{file}` has a rule without an `@id`, or one whose id is taken: `{id}`")]
    Id { file: String, id: String },
    #[error("rules do not fit the schema: {0}")]
    Schema(String),
}

/// An act on facts (not on data): who signs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Publish,
    Apply,
    Grant,
    Suspend,
    Resume,
    Revoke,
}

impl Act {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Apply => "apply",
            Self::Grant => "grant",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Revoke => "revoke",
        }
    }
}

/// What an act is about, where it has an applicant or a past.
#[derive(Debug, Clone, Default)]
pub struct ActFacts<'a> {
    pub applicant_department: &'a str,
    pub applicant_account: &'a str,
    pub suspended_by_authority: bool,
}

/// The right to perform one act; made by [`Law::allow`] only.
#[derive(Debug, Clone)]
pub struct Signature {
    act: Act,
    rules_version: String,
}

impl Signature {
    pub fn act(&self) -> Act {
        self.act
    }

    pub fn rules_version(&self) -> &str {
        &self.rules_version
    }
}

const SCHEMA: &str = include_str!("../rules/schema.cedarschema");
const RULES: [(&str, &str); 4] = [
    ("call.cedar", include_str!("../rules/call.cedar")),
    ("personal.cedar", include_str!("../rules/personal.cedar")),
    ("administrators.cedar", include_str!("../rules/administrators.cedar")),
    ("acts.cedar", include_str!("../rules/acts.cedar")),
];

/// One caller, one grant and one resource version as the rules see them, and the sight they give; made by [`Law::brief`].
///
/// INVARIANT: owns what it was made from, and is refused for any other caller or resource version. Nothing of a single
/// call is in it (time, purpose, standing, what is asked beside it): those are decided anew each time.
#[derive(Clone)]
pub struct Brief {
    caller: Caller,
    resource: ResourceName,
    resource_version: u32,
    grant: Grant,
    entities: Entities,
    principal: EntityUid,
    object: EntityUid,
    granted: RestrictedExpression,
    sight: Result<Arc<Sight>, Refusal>,
}

impl std::fmt::Debug for Brief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brief").field("grant", &self.grant.id).finish_non_exhaustive()
    }
}

impl Brief {
    /// Whether caller and resource version are those it was made for.
    pub fn fits(&self, caller: &Caller, ask: &Ask<'_>) -> bool {
        self.caller.same(caller)
            && self.resource_version == ask.resource_version
            && self.resource == ask.resource.name
    }
}

/// The rules in force, in one version.
pub struct Law {
    rules: PolicySet,
    authorizer: Authorizer,
    version: String,
    names: Names,
}

impl std::fmt::Debug for Law {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Law").field("version", &self.version).finish_non_exhaustive()
    }
}

struct Names {
    caller: EntityTypeName,
    grant: EntityTypeName,
    resource: EntityTypeName,
    action: EntityTypeName,
}

impl Law {
    /// The built-in rules and a deployment's own (`(file name, text)`), checked against the schema.
    pub fn load(extra: &[(String, String)]) -> Result<Self, LawError> {
        let schema = parsed_schema()?;
        let mut rules = PolicySet::new();
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        digest.update(SCHEMA.as_bytes());
        let built_in = RULES.iter().map(|(file, text)| (*file, *text));
        let own = extra.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        for (file, text) in built_in.chain(own) {
            digest.update(text.as_bytes());
            add_rules(&mut rules, file, text)?;
        }
        let checked = Validator::new(schema).validate(&rules, ValidationMode::Strict);
        if !checked.validation_passed() {
            let faults: Vec<String> = checked.validation_errors().map(ToString::to_string).collect();
            return Err(LawError::Schema(faults.join("; ")));
        }
        let version: String =
            digest.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name =
            |text: &str| text.parse::<EntityTypeName>().map_err(|cause| LawError::Schema(cause.to_string()));
        Ok(Self {
            rules,
            authorizer: Authorizer::new(),
            version,
            names: Names {
                caller: name("Tongqu::Caller")?,
                grant: name("Tongqu::Grant")?,
                resource: name("Tongqu::Resource")?,
                action: name("Tongqu::Action")?,
            },
        })
    }

    /// First 16 hex digits of the SHA-256 over schema and rules; every entry names it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the rules need to know of this caller, grant and resource: good for every call in which they stay as they are.
    pub fn brief(
        &self,
        caller: &Caller,
        resource: &Resource,
        resource_version: u32,
        grant: &Grant,
        master: &PseudonymKey,
    ) -> Result<Brief, Refusal> {
        let principal = uid(&self.names.caller, caller.account());
        let object = uid(&self.names.resource, resource.name.as_str());
        let granted = uid(&self.names.grant, &grant.id.0);
        let facts = [
            caller_entity(&principal, caller)?,
            resource_entity(&object, resource)?,
            grant_entity(&granted, grant)?,
        ];
        let sight = Sight::new(resource, &grant.terms, caller, master).map(Arc::new).map_err(|fault| {
            Refusal::one("scope", &fault.to_string(), "ask the provider to correct the grant")
        });
        Ok(Brief {
            caller: caller.clone(),
            resource_version,
            resource: resource.name.clone(),
            grant: grant.clone(),
            entities: Entities::from_entities(facts, None).map_err(unreadable)?,
            principal,
            object,
            granted: RestrictedExpression::new_entity_uid(granted),
            sight,
        })
    }

    /// Decides one call on one resource under one grant.
    pub fn decide(&self, brief: &Brief, caller: &Caller, ask: &Ask<'_>) -> Result<Permit, Refusal> {
        if !brief.fits(caller, ask) {
            return Err(unreadable("a brief of another call"));
        }
        let action = uid(&self.names.action, ask.operation.as_str());
        let context = call_context(ask, brief.granted.clone())?;
        let request = Request::new(brief.principal.clone(), action, brief.object.clone(), context, None)
            .map_err(unreadable)?;
        self.judge(&request, &brief.entities, ask.operation.as_str())?;
        let sight = brief.sight.clone()?;
        let grant = &brief.grant;
        Ok(Permit {
            resource: brief.resource.clone(),
            resource_version: ask.resource_version,
            operation: ask.operation,
            grant: Some((grant.id.clone(), grant.version)),
            sight,
            rows_per_answer_max: grant.terms.rows_per_answer_max,
            rows_per_day_max: grant.terms.rows_per_day_max,
            calls_per_minute_max: grant.terms.calls_per_minute_max,
            valid_until: caller.valid_until().min(grant.terms.valid_until).min(ask.deadline_us),
            rules_version: self.version.clone(),
            personal: ask.resource.personal(),
        })
    }

    /// Decides a reading of the record (`system.audit`): no grant, a rule for reviewers.
    pub fn decide_record(&self, caller: &Caller, ask: &Ask<'_>, rows_max: u64) -> Result<Permit, Refusal> {
        let context = context([("purpose", text(ask.purpose))])?;
        self.authorize(caller, "read_record", ask.resource, context)?;
        Ok(Permit {
            resource: ask.resource.name.clone(),
            resource_version: ask.resource_version,
            operation: ask.operation,
            grant: None,
            sight: Arc::new(Sight::whole(ask.resource)),
            rows_per_answer_max: rows_max,
            rows_per_day_max: u64::MAX,
            calls_per_minute_max: u32::MAX,
            valid_until: caller.valid_until().min(ask.deadline_us),
            rules_version: self.version.clone(),
            personal: false,
        })
    }

    /// Decides an act on facts.
    pub fn allow(
        &self,
        caller: &Caller,
        act: Act,
        resource: &Resource,
        facts: &ActFacts<'_>,
    ) -> Result<Signature, Refusal> {
        let context = context([
            ("applicant_department", text(facts.applicant_department)),
            ("applicant_account", text(facts.applicant_account)),
            ("suspended_by_authority", RestrictedExpression::new_bool(facts.suspended_by_authority)),
        ])?;
        self.authorize(caller, act.as_str(), resource, context)?;
        Ok(Signature { act, rules_version: self.version.clone() })
    }

    fn authorize(
        &self,
        caller: &Caller,
        action: &str,
        resource: &Resource,
        context: Context,
    ) -> Result<(), Refusal> {
        let principal = uid(&self.names.caller, caller.account());
        let object = uid(&self.names.resource, resource.name.as_str());
        let entities = Entities::from_entities(
            [caller_entity(&principal, caller)?, resource_entity(&object, resource)?],
            None,
        )
        .map_err(unreadable)?;
        let request = Request::new(principal, uid(&self.names.action, action), object, context, None)
            .map_err(unreadable)?;
        self.judge(&request, &entities, action)
    }

    fn judge(&self, request: &Request, entities: &Entities, action: &str) -> Result<(), Refusal> {
        let response = self.authorizer.is_authorized(request, &self.rules, entities);
        if response.diagnostics().errors().next().is_some() {
            return Err(Refusal::one(
                "rule-error",
                "a rule could not be evaluated",
                "tell the hub's security administrator",
            ));
        }
        match response.decision() {
            Decision::Allow => Ok(()),
            Decision::Deny => Err(self.refusal(response.diagnostics().reason(), action)),
        }
    }

    fn refusal<'a>(&self, rules: impl Iterator<Item = &'a PolicyId>, action: &str) -> Refusal {
        let mut reasons: Vec<Reason> = rules
            .map(|id| {
                let note = |key: &str| self.rules.annotation(id, key).unwrap_or_default().to_owned();
                Reason { rule: id.to_string(), message: note("says"), apply: note("apply") }
            })
            .collect();
        reasons.sort_by(|a, b| a.rule.cmp(&b.rule));
        if reasons.is_empty() {
            return Refusal::one(
                "no-rule-permits",
                &format!("no rule lets this account `{action}` here"),
                "use an account of the department and post that may",
            );
        }
        Refusal { reasons }
    }
}

fn parsed_schema() -> Result<Schema, LawError> {
    Schema::from_cedarschema_str(SCHEMA)
        .map(|(schema, _warnings)| schema)
        .map_err(|cause| LawError::Schema(cause.to_string()))
}

/// Adds a file's rules under their `@id`, which must be there and be theirs alone.
fn add_rules(rules: &mut PolicySet, file: &str, source: &str) -> Result<(), LawError> {
    let parsed: PolicySet = source.parse().map_err(|cause: cedar_policy::ParseErrors| LawError::Parse {
        file: file.to_owned(),
        cause: cause.to_string(),
    })?;
    for rule in parsed.policies() {
        let id = rule.annotation("id").unwrap_or_default().to_owned();
        let refused = || LawError::Id { file: file.to_owned(), id: id.clone() };
        if id.is_empty() {
            return Err(refused());
        }
        let named: Policy = rule.new_id(PolicyId::new(&id));
        rules.add(named).map_err(|_taken| refused())?;
    }
    Ok(())
}

fn state_text(state: GrantState) -> &'static str {
    match state {
        GrantState::Active => "active",
        GrantState::Suspended => "suspended",
        GrantState::Revoked => "revoked",
    }
}

fn class_text(class: SharingClass) -> &'static str {
    match class {
        SharingClass::Unconditional => "unconditional",
        SharingClass::Conditional => "conditional",
        SharingClass::Withheld => "withheld",
    }
}

fn kind_text(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Person => "person",
        AccountKind::System => "system",
        AccountKind::Hub => "hub",
    }
}

fn caller_entity(id: &EntityUid, caller: &Caller) -> Result<Entity, Refusal> {
    let roles: BTreeSet<String> = caller.roles().iter().map(|role| role.as_str().to_owned()).collect();
    entity(
        id,
        [
            ("account", text(caller.account())),
            ("kind", text(kind_text(caller.kind()))),
            ("department", text(caller.department().as_str())),
            ("roles", texts(roles)),
        ],
    )
}

fn grant_entity(id: &EntityUid, grant: &Grant) -> Result<Entity, Refusal> {
    let terms = &grant.terms;
    entity(
        id,
        [
            ("grantee", text(grant.grantee.as_str())),
            ("resource", text(grant.resource.as_str())),
            ("state", text(state_text(grant.state))),
            ("operations", texts(terms.operations.iter().map(|operation| operation.as_str()))),
            ("purpose", text(&terms.purpose)),
            ("systems", texts(terms.systems.iter().map(String::as_str))),
            ("standing", texts(terms.standing.iter().map(|kind| kind.text()))),
            ("joins", texts(terms.joins.iter().map(|name| name.as_str()))),
            ("valid_from", RestrictedExpression::new_long(terms.valid_from)),
            ("valid_until", RestrictedExpression::new_long(terms.valid_until)),
        ],
    )
}

fn call_context(ask: &Ask<'_>, granted: RestrictedExpression) -> Result<Context, Refusal> {
    let standing = ask.standing.map(|standing| standing.kind().text()).unwrap_or_default();
    context([
        ("grant", granted),
        ("operation", text(ask.operation.as_str())),
        ("purpose", text(ask.purpose)),
        ("case_named", RestrictedExpression::new_bool(ask.case_named)),
        ("standing", text(&standing)),
        ("now", RestrictedExpression::new_long(ask.now_us)),
        ("beside", texts(ask.beside_names().iter().map(|name| name.as_str()))),
        ("beside_guarded", texts(ask.beside_guarded().iter().map(|name| name.as_str()))),
    ])
}

fn resource_entity(id: &EntityUid, resource: &Resource) -> Result<Entity, Refusal> {
    entity(
        id,
        [
            ("name", text(resource.name.as_str())),
            ("provider", text(resource.provider.as_str())),
            ("class", text(class_text(resource.class))),
            ("personal", RestrictedExpression::new_bool(resource.personal())),
            ("never_join", texts(resource.never_join.iter().map(|name| name.as_str()))),
        ],
    )
}

fn entity<const N: usize>(
    id: &EntityUid,
    fields: [(&str, RestrictedExpression); N],
) -> Result<Entity, Refusal> {
    let fields: HashMap<String, RestrictedExpression> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(id.clone(), fields, HashSet::new()).map_err(unreadable)
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts<T: Into<String>>(values: impl IntoIterator<Item = T>) -> RestrictedExpression {
    RestrictedExpression::new_set(
        values.into_iter().map(|value| RestrictedExpression::new_string(value.into())),
    )
}

fn context<const N: usize>(fields: [(&str, RestrictedExpression); N]) -> Result<Context, Refusal> {
    Context::from_pairs(fields.into_iter().map(|(name, value)| (name.to_owned(), value))).map_err(unreadable)
}

fn unreadable(_cause: impl std::fmt::Display) -> Refusal {
    Refusal::one(
        "unreadable",
        "the facts of this call cannot be read",
        "tell the hub's security administrator",
    )
}
