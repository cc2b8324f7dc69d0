//! Known numbers, one broken rule at a time, and what must hold for any number.

use proptest::prelude::*;

use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn id_numbers() {
    use IdentifierError::*;
    // 11010519491231002X and 440524188001010014 are the examples printed in GB 11643-1999 itself.
    let check = |text: &str, expect: Result<(), IdentifierError>| {
        assert_eq!(check_id_number(text), expect, "{text}");
    };
    check("11010519491231002X", Ok(()));
    check("440524188001010014", Ok(()));
    check("360426199101010071", Ok(()));
    check("", Err(Length { expected: 18, found: 0 }));
    check("11010519491231002", Err(Length { expected: 18, found: 17 }));
    check("11010519491231002XX", Err(Length { expected: 18, found: 19 }));
    check("身份证号码是什么呢一二三四五六七八", Err(Length { expected: 18, found: 17 }));
    check("身份证号码是什么呢一二三四五六七八九", Err(Character { position: 1 }));
    check("11010519491231002x", Err(Character { position: 18 }));
    check("1101O519491231002X", Err(Character { position: 5 }));
    check("11010519491231002Ⅹ", Err(Character { position: 18 }));
    check("1101051949123100٢X", Err(Character { position: 17 }));
    check("010105194912310020", Err(Region));
    check("99010519491231002X", Err(Region));
    check("11010519491331002X", Err(Date));
    check("11010519490229002X", Err(Date));
    check("11010500001231002X", Err(Date));
    check("110105194912310020", Err(IdCheck));
    check("11010519491231003X", Err(IdCheck));
    check("101105194912310020", Err(Region));
}

#[test]
fn nobody_is_born_tomorrow() {
    let born = compose_id_number("330203", date("2026-06-30"), 12).unwrap();
    assert_eq!(check_id_number_on(&born, date("2026-06-30")), Ok(()));
    assert_eq!(check_id_number_on(&born, date("2026-06-29")), Err(IdentifierError::BornLater));
}

#[test]
fn check_characters() {
    let check = |first: &str, expect: char| assert_eq!(id_number_check(first), Ok(expect), "{first}");
    check("11010519491231002", 'X');
    check("44052418800101001", '4');
    assert!(id_number_check("1101051949123100").is_err());
    assert_eq!(organisation_code_check("D2143569"), Ok('X'));
    assert_eq!(organisation_code_check("MA770X82"), Ok('3'));
    assert_eq!(uscc_check("91350100M000100Y4"), Ok('3'));
}

#[test]
fn legacy_numbers_are_widened() {
    let check = |text: &str, expect: Option<&str>| assert_eq!(widen(text).ok().as_deref(), expect, "{text}");
    check("110105491231002", Some("11010519491231002X"));
    check("130503670401001", Some("130503196704010016"));
    check("110105491331002", None);
    check("11010549123100X", None);
    check("320404000009558", None);
    check("11010519491231002X", None);
}

#[test]
fn one_spelling() {
    let check = |text: &str, expect: &str| assert_eq!(normalise(text), expect, "{text:?}");
    check("11010519491231002X", "11010519491231002X");
    check(" 11010519491231002x\t\n", "11010519491231002X");
    check("\u{3000}１１０１０５１９４９１２３１００２ｘ\u{feff}", "11010519491231002X");
    check("110105491231002", "11010519491231002X");
    check(" 110105491231002\0", "11010519491231002X");
    check("91350100m000100y43", "91350100M000100Y43");
    check("320404000009558", "320404000009558");
    check("张三", "张三");
    check("", "");
    check("\u{3000} ", "");
}

#[test]
fn what_an_id_number_tells() {
    let check = |id: &str, born: &str, is: Sex, place: &str| {
        assert_eq!(birth_date(id), Ok(date(born)), "{id}");
        assert_eq!(sex(id), Ok(is), "{id}");
        assert_eq!(region(id), Ok(place), "{id}");
    };
    check("11010519491231002X", "1949-12-31", Sex::Female, "110105");
    check("440524188001010014", "1880-01-01", Sex::Male, "440524");
    check("110105491231002", "1949-12-31", Sex::Female, "110105");
    check("130503670401001", "1967-04-01", Sex::Male, "130503");
    assert_eq!(birth_date("11010519490229002X"), Err(IdentifierError::Date));
    assert_eq!(sex("1101"), Err(IdentifierError::Length { expected: 18, found: 4 }));
    assert_eq!(region("张"), Err(IdentifierError::Length { expected: 18, found: 1 }));
    assert_eq!((Sex::Male.code(), Sex::Female.code()), ("1", "2"));
}

#[test]
fn credit_codes() {
    use IdentifierError::*;
    // 91350100M000100Y43 is the example of GB 32100-2015.
    let check = |text: &str, expect: Result<(), IdentifierError>| {
        assert_eq!(check_uscc(text), expect, "{text}");
    };
    check("91350100M000100Y43", Ok(()));
    check("91640324MA770X823F", Ok(()));
    check("91350100M000100Y4", Err(Length { expected: 18, found: 17 }));
    check("91350100M000100Y4I", Err(Character { position: 18 }));
    check("91350100M000100Y4三", Err(Character { position: 18 }));
    check("9135O100M000100Y43", Err(Character { position: 5 }));
    check("91350100m000100Y43", Err(Character { position: 9 }));
    check("91350100M000100Y44", Err(UsccCheck));
    check("19350100M000100Y43", Err(UsccCheck));
    assert_eq!(check_uscc_strictly("91640324MA770X823F"), Ok(()));
    let without_organisation = format!("91350100M00010000{}", uscc_check("91350100M00010000").unwrap());
    assert_eq!(check_uscc(&without_organisation), Ok(()));
    assert_eq!(check_uscc_strictly(&without_organisation), Err(OrganisationCheck));
}

#[test]
fn organisation_codes() {
    let check = |text: &str, good: bool| assert_eq!(check_organisation_code(text).is_ok(), good, "{text}");
    check("D2143569X", true);
    check("D2143569-X", true);
    check("MA770X823", true);
    check("D21435690", false);
    check("d2143569X", false);
    check("D2143569--", false);
    check("D214-3569X", false);
    check("D2143569", false);
    check("组织机构代码组织机", false);
    check("", false);
}

#[test]
fn numbers_are_made() {
    let male = compose_id_number("330203", date("1988-02-29"), 7).unwrap();
    assert_eq!(check_id_number(&male), Ok(()));
    assert_eq!(sex(&male), Ok(Sex::Male));
    assert!(compose_id_number("003020", date("1988-02-29"), 7).is_err());
    assert!(compose_id_number("330203", date("1988-02-29"), 1000).is_err());
    let uscc = compose_uscc("91", "330203", "MA2ABCDE").unwrap();
    assert_eq!(check_uscc_strictly(&uscc), Ok(()));
    assert!(compose_uscc("91", "330203", "MA2ABCDI").is_err());
}

#[test]
fn errors_say_the_rule_and_not_the_number() {
    for id in ["110105194912310020", "11010519491331002X", "99010519491231002X", "1101O519491231002X", "1101"]
    {
        let message = check_id_number(id).unwrap_err().to_string();
        assert!(!message.contains(id) && !message.ends_with('.'), "{message}");
    }
}

proptest! {
    #[test]
    fn any_single_digit_change_is_detected(days in 0_u16..35_000, sequence in 1_u16..1000, at in 0_usize..17, by in 1_u8..10) {
        let birth = date("1930-01-01") + chrono::Days::new(days.into());
        let id = compose_id_number("330203", birth, sequence).unwrap();
        prop_assert_eq!(check_id_number(&id), Ok(()));
        let mut bytes = id.into_bytes();
        bytes[at] = b'0' + (bytes[at] - b'0' + by) % 10;
        prop_assert!(check_id_number(std::str::from_utf8(&bytes).unwrap()).is_err());
    }

    #[test]
    fn any_single_character_change_of_a_credit_code_is_detected(body in "91[0-9]{6}[0-9A-HJ-NP-RTUWXY]{8}", at in 0_usize..18, to in 0_usize..31) {
        let uscc = compose_uscc(&body[..2], &body[2..8], &body[8..]).unwrap_or_default();
        prop_assume!(!uscc.is_empty());
        let mut bytes = uscc.clone().into_bytes();
        bytes[at] = USCC_ALPHABET[to];
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(check_uscc(&changed).is_ok(), changed == uscc);
    }

    #[test]
    fn neighbours_swapped_are_detected(days in 0_u16..35_000, sequence in 1_u16..1000, at in 0_usize..16) {
        let birth = date("1930-01-01") + chrono::Days::new(days.into());
        let id = compose_id_number("330203", birth, sequence).unwrap();
        let mut bytes = id.clone().into_bytes();
        bytes.swap(at, at + 1);
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(check_id_number(&changed).is_ok(), changed == id);
    }

    #[test]
    fn normalising_twice_changes_nothing(text in "\\PC{0,24}") {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }

    #[test]
    fn no_text_upsets_the_checks(text in any::<String>()) {
        let _ = (check_id_number(&text), check_uscc(&text), check_organisation_code(&text), widen(&text));
        let _ = (birth_date(&text), sex(&text), region(&text).is_ok(), normalise(&text));
    }
}
