//! The decision table: every rule of `rules/*.cedar` with one permitted and one refused case.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{DepartmentId, Resource, ResourceName, SharingClass};
use policies::ask::{Ask, Standing};
use policies::decide::{Act, ActFacts, Law, Refusal};
use policies::{
    AccountKind, Caller, Grant, GrantId, GrantState, Identity, Operation, OutputItem, Permit, PseudonymKey,
    Role, StandingKind, Terms,
};

const NOW: i64 = 1_780_272_000_000_000;

/// One call, its facts in the open so that a case changes one of them.
struct Case {
    department: &'static str,
    kind: AccountKind,
    roles: Vec<Role>,
    grant: Grant,
    resource: Resource,
    beside: Vec<Resource>,
    operation: Operation,
    purpose: &'static str,
    case_named: bool,
    standing: Option<Standing>,
    now_us: i64,
}

fn residents() -> Resource {
    let found = catalog::embedded().expect("libraries");
    found.into_iter().find(|resource| resource.name.as_str() == "population.resident").expect("residents")
}

fn penalties() -> Resource {
    let found = catalog::embedded().expect("libraries");
    found.into_iter().find(|resource| resource.name.as_str() == "credit.penalty").expect("penalties")
}

fn good() -> Case {
    let terms = Terms {
        operations: vec![Operation::Query],
        input: vec![],
        output: vec![OutputItem { item: "sex".to_owned(), mask: None }],
        scope: None,
        purpose: "minimum-living-allowance".to_owned(),
        basis: "basis".to_owned(),
        service_items: vec![],
        systems: vec!["account".to_owned()],
        standing: vec![StandingKind::Operator, StandingKind::Rule("auto".to_owned())],
        joins: vec![],
        valid_from: NOW - 1,
        valid_until: NOW + 1_000,
        rows_per_answer_max: 10,
        rows_per_day_max: 100,
        calls_per_minute_max: 60,
    };
    Case {
        department: "civil-affairs",
        kind: AccountKind::Person,
        roles: vec![Role::Operator],
        grant: Grant {
            id: GrantId("grant_1".to_owned()),
            version: 3,
            application: "app_1".to_owned(),
            resource: ResourceName::from("population.resident"),
            grantee: DepartmentId::from("civil-affairs"),
            provider: DepartmentId::from("public-security"),
            state: GrantState::Active,
            terms,
        },
        resource: residents(),
        beside: vec![],
        operation: Operation::Query,
        purpose: "minimum-living-allowance",
        case_named: true,
        standing: Some(Standing::Operator("account".to_owned())),
        now_us: NOW,
    }
}

fn caller(department: &str, kind: AccountKind, roles: &[Role]) -> Caller {
    Caller::verified(Identity {
        account: "account".to_owned(),
        kind,
        department: DepartmentId::from(department),
        roles: roles.iter().copied().collect::<BTreeSet<Role>>(),
        attributes: BTreeMap::new(),
        valid_until: NOW + 500,
    })
}

fn decide(case: &Case) -> Result<Permit, Refusal> {
    let law = Law::load(&[]).expect("the rules load");
    let ask = Ask {
        operation: case.operation,
        purpose: case.purpose,
        case_named: case.case_named,
        standing: case.standing.as_ref(),
        resource: &case.resource,
        resource_version: 1,
        beside: case.beside.iter().collect(),
        now_us: case.now_us,
        deadline_us: NOW + 300,
    };
    let caller = caller(case.department, case.kind, &case.roles);
    let brief =
        law.brief(&caller, ask.resource, ask.resource_version, &case.grant, &PseudonymKey::master(&[7; 32]))?;
    law.decide(&brief, &caller, &ask)
}

/// The good case with one change is refused by exactly these rules; with none it is permitted.
#[track_caller]
fn check(change: impl FnOnce(&mut Case), rules: &[&str]) {
    let mut case = good();
    change(&mut case);
    let refused: Vec<String> = match decide(&case) {
        Ok(_) => vec![],
        Err(refusal) => refusal.reasons.into_iter().map(|reason| reason.rule).collect(),
    };
    assert_eq!(refused, rules);
}

#[test]
fn every_rule_on_calls_permits_and_refuses() {
    check(|_| (), &[]);
    check(|case| case.department = "human-resources", &["no-rule-permits"]);
    check(|case| case.grant.resource = ResourceName::from("credit.permit"), &["no-rule-permits"]);
    check(|case| case.grant.state = GrantState::Suspended, &["grant-active"]);
    check(|case| case.grant.state = GrantState::Revoked, &["grant-active"]);
    check(|case| case.now_us = case.grant.terms.valid_until - 1, &[]);
    check(|case| case.now_us = case.grant.terms.valid_until, &["grant-term"]);
    check(|case| case.now_us = case.grant.terms.valid_from, &[]);
    check(|case| case.now_us = case.grant.terms.valid_from - 1, &["grant-term"]);
    check(|case| case.operation = Operation::Lookup, &["operation"]);
    check(|case| case.grant.terms.operations = vec![], &["operation"]);
    check(|case| case.purpose = "statistics", &["purpose"]);
    check(|case| case.purpose = "", &["purpose"]);
    check(|case| case.roles = vec![Role::SharingHead], &["operator-role"]);
    check(|case| case.roles = vec![], &["operator-role"]);
    check(|case| case.kind = AccountKind::System, &[]);
    check(
        |case| {
            case.kind = AccountKind::System;
            case.grant.terms.systems = vec!["another".to_owned()];
        },
        &["system-named"],
    );
    check(|case| case.resource.class = SharingClass::Withheld, &["withheld"]);
}

#[test]
fn every_rule_on_personal_data_permits_and_refuses() {
    check(|case| case.case_named = false, &["case-named"]);
    check(|case| case.standing = None, &["standing"]);
    check(|case| case.standing = Some(Standing::Terminal("t".to_owned())), &["standing"]);
    check(|case| case.standing = Some(Standing::Rule("auto".to_owned())), &[]);
    check(|case| case.standing = Some(Standing::Rule("other".to_owned())), &["standing"]);
    check(|case| case.grant.terms.standing = vec![], &["standing"]);
    let general = |case: &mut Case| {
        for item in &mut case.resource.items {
            item.classification = catalog::Classification::General;
        }
        case.case_named = false;
        case.standing = None;
    };
    check(general, &[]);
    check(|case| case.beside = vec![penalties()], &["join-granted"]);
    check(
        |case| {
            case.beside = vec![penalties()];
            case.grant.terms.joins = vec![ResourceName::from("credit.penalty")];
        },
        &[],
    );
    check(
        |case| {
            case.beside = vec![penalties()];
            case.grant.terms.joins = vec![ResourceName::from("credit.penalty")];
            case.resource.never_join = vec![ResourceName::from("credit.penalty")];
        },
        &["never-join"],
    );
}

#[test]
fn administrators_are_apart_and_see_no_payload() {
    for role in [Role::SystemAdmin, Role::SecurityAdmin, Role::Reviewer] {
        check(|case| case.roles = vec![Role::Operator, role], &["administrators-see-no-payload"]);
    }
    for pair in [
        [Role::SystemAdmin, Role::SecurityAdmin],
        [Role::SystemAdmin, Role::Reviewer],
        [Role::SecurityAdmin, Role::Reviewer],
    ] {
        check(
            |case| case.roles = vec![Role::Operator, pair[0], pair[1]],
            &["administrators-apart", "administrators-see-no-payload"],
        );
    }
}

#[test]
fn a_permit_ends_with_the_first_of_token_grant_and_deadline() {
    let permit = decide(&good()).expect("permitted");
    assert_eq!(permit.valid_until(), NOW + 300, "the deadline");
    let mut case = good();
    case.grant.terms.valid_until = NOW + 200;
    assert_eq!(decide(&case).expect("permitted").valid_until(), NOW + 200, "the grant");
    assert_eq!(permit.grant().map(|(id, version)| (id.0.as_str(), *version)), Some(("grant_1", 3)));
}

#[track_caller]
fn act(act: Act, department: &str, roles: &[Role], facts: &ActFacts<'_>, rules: &[&str]) {
    let law = Law::load(&[]).expect("the rules load");
    let caller = caller(department, AccountKind::Person, roles);
    let refused: Vec<String> = match law.allow(&caller, act, &residents(), facts) {
        Ok(signature) => {
            assert_eq!(signature.act(), act);
            vec![]
        }
        Err(refusal) => refusal.reasons.into_iter().map(|reason| reason.rule).collect(),
    };
    assert_eq!(refused, rules, "{act:?} by {department} {roles:?}");
}

#[test]
fn every_rule_on_acts_permits_and_refuses() {
    let none = ActFacts::default();
    let by_civil_affairs = ActFacts {
        applicant_department: "civil-affairs",
        applicant_account: "x",
        suspended_by_authority: false,
    };
    let head = [Role::SharingHead];
    act(Act::Publish, "public-security", &[Role::Head], &none, &[]);
    act(Act::Publish, "public-security", &head, &none, &["no-rule-permits"]);
    act(Act::Publish, "civil-affairs", &[Role::Head], &none, &["no-rule-permits"]);
    act(Act::Apply, "civil-affairs", &head, &none, &[]);
    act(Act::Apply, "civil-affairs", &[Role::Operator], &none, &["no-rule-permits"]);
    act(Act::Apply, "public-security", &head, &none, &["apply-elsewhere"]);
    act(Act::Grant, "public-security", &head, &by_civil_affairs, &[]);
    act(Act::Grant, "civil-affairs", &head, &by_civil_affairs, &["no-self-approval"]);
    act(Act::Grant, "data-authority", &[Role::Authority], &by_civil_affairs, &["no-rule-permits"]);
    let own = ActFacts { applicant_account: "account", ..by_civil_affairs.clone() };
    act(Act::Grant, "public-security", &head, &own, &["no-self-approval"]);
    for change in [Act::Suspend, Act::Resume, Act::Revoke] {
        act(change, "public-security", &head, &by_civil_affairs, &[]);
        act(change, "data-authority", &[Role::Authority], &by_civil_affairs, &[]);
        act(change, "civil-affairs", &head, &by_civil_affairs, &["no-rule-permits"]);
        act(change, "public-security", &[Role::Operator], &by_civil_affairs, &["no-rule-permits"]);
    }
    let by_authority = ActFacts { suspended_by_authority: true, ..by_civil_affairs };
    act(Act::Resume, "public-security", &head, &by_authority, &["resume-after-authority"]);
    act(Act::Resume, "data-authority", &[Role::Authority], &by_authority, &[]);
}

#[test]
fn the_record_is_read_by_reviewers_for_audit_only() {
    let law = Law::load(&[]).expect("the rules load");
    let resource = residents();
    let ask = |purpose: &'static str| Ask {
        operation: Operation::Query,
        purpose,
        case_named: false,
        standing: None,
        resource: &resource,
        resource_version: 1,
        beside: vec![],
        now_us: NOW,
        deadline_us: NOW + 1,
    };
    let by = |roles: &[Role]| caller("data-authority", AccountKind::Person, roles);
    assert!(law.decide_record(&by(&[Role::Reviewer]), &ask("audit"), 10).is_ok());
    assert!(law.decide_record(&by(&[Role::Reviewer]), &ask("statistics"), 10).is_err());
    for role in [Role::Operator, Role::Authority, Role::SystemAdmin, Role::SecurityAdmin, Role::Head] {
        assert!(law.decide_record(&by(&[role]), &ask("audit"), 10).is_err(), "{role:?}");
    }
}

#[test]
fn a_deployments_own_rule_refuses_and_bad_rules_are_refused() {
    let own = |text: &str| Law::load(&[("own.cedar".to_owned(), text.to_owned())]);
    let good_rule = r#"@id("no-statistics") @says("s") @apply("a") forbid (principal, action == Tongqu::Action::"query", resource);"#;
    let law = own(good_rule).expect("a sound rule");
    assert_ne!(law.version(), Law::load(&[]).expect("rules").version());
    for bad in [
        "forbid (principal, action, resource)",
        "forbid (principal, action, resource);",
        r#"@id("purpose") forbid (principal, action, resource);"#,
        r#"@id("x") permit (principal, action == Tongqu::Action::"query", resource) when { principal.nosuch == 1 };"#,
    ] {
        assert!(own(bad).is_err(), "{bad}");
    }
}
