//! Masks that other granted items would undo: a mask must still hide something when all of the grant is read together.
//!
//! The rules, by what the catalogue declares as `derived_from` (an origin such as an ID number, and parts of it):
//! 1. a masked part beside its origin in the clear is a fault: the part can be read off the origin;
//! 2. a masked part beside an origin of which the characters holding it are kept is a fault (ID number layout of
//!    GB 11643: region 1–6, birth date 7–14, sequence and sex 15–17, check 18);
//! 3. a partly kept origin beside a derived date in the clear, or beside two derived items in the clear, is a fault: kept
//!    characters and parts together give the origin back;
//! 4. an origin under any mask beside three derived items in the clear is a fault: region, birth date and sex leave a few
//!    hundred candidates;
//! 5. a look-up input as a pseudonym of the same grant is a fault: asking by true value makes a dictionary.
//!
//! An item that is not declared as derived (the place of residence beside the region of an ID number) is another fact and
//! undoes nothing.

use catalog::{Faults, Item, ItemType, Resource};

use crate::grant::{OutputItem, Terms};
use crate::mask::Mask;

/// How many derived items in the clear give a masked origin away.
const PARTS_ANY_MASK: usize = 3;
const PARTS_PARTIAL_MASK: usize = 2;
/// Characters before the birth date, and after it.
const REGION_CHARS: u8 = 6;
const AFTER_REGION_CHARS: u8 = 12;
const AFTER_BIRTH_CHARS: u8 = 4;
/// The last characters of which none tells the sex.
const CHECK_CHARS: u8 = 1;

pub(super) fn check(terms: &Terms, resource: &Resource, faults: &mut Faults) {
    for (index, output) in terms.output.iter().enumerate() {
        let (Some(item), Some(mask)) = (resource.item(&output.item), &output.mask) else {
            continue;
        };
        let pointer = format!("/output/{index}/mask");
        if *mask == Mask::Pseudonym && terms.input.contains(&item.name) {
            let text = "`pseudonym` on a look-up input can be read back by asking, hide it or drop the input";
            faults.add(pointer.as_str(), text);
        }
        for origin in origins(resource, item) {
            let told = terms
                .output
                .iter()
                .find(|output| output.item == origin)
                .is_some_and(|output| output.mask.as_ref().is_none_or(|kept| tells(kept, item, mask)));
            if told {
                faults.add(
                    pointer.as_str(),
                    format!("`{origin}` in the same grant tells `{}`, mask it too", item.name),
                );
            }
        }
        check_parts(terms, resource, item, mask, &pointer, faults);
    }
}

/// Rules 3 and 4.
fn check_parts(
    terms: &Terms,
    resource: &Resource,
    origin: &Item,
    mask: &Mask,
    pointer: &str,
    faults: &mut Faults,
) {
    let clear: Vec<&Item> = terms
        .output
        .iter()
        .filter(|OutputItem { mask, .. }| mask.is_none())
        .filter_map(|output| resource.item(&output.item))
        .filter(|part| origins(resource, part).contains(&origin.name.as_str()))
        .collect();
    let partial = matches!(mask, Mask::KeepFirst(_) | Mask::KeepLast(_) | Mask::RegionPrefix(_));
    let dated = clear.iter().any(|part| part.item_type == ItemType::Date);
    let most = if partial { PARTS_PARTIAL_MASK } else { PARTS_ANY_MASK };
    if clear.len() >= most || (partial && dated) {
        let names: Vec<&str> = clear.iter().map(|part| part.name.as_str()).collect();
        let text =
            format!("`{}` in the clear give `{}` back, mask or drop some", names.join("`, `"), origin.name);
        faults.add(pointer, text);
    }
}

/// Items this one can be computed from, nearest first; a cycle in a bad entry ends the walk.
fn origins<'r>(resource: &'r Resource, item: &'r Item) -> Vec<&'r str> {
    let mut origins: Vec<&str> = Vec::new();
    let mut next = item.derived_from.as_deref();
    while let Some(name) = next {
        if name == item.name || origins.contains(&name) {
            break;
        }
        origins.push(name);
        next = resource.item(name).and_then(|origin| origin.derived_from.as_deref());
    }
    origins
}

/// Rule 2: whether an origin shown under `kept` still tells `part`, which is shown under `mask`.
fn tells(kept: &Mask, part: &Item, mask: &Mask) -> bool {
    match (kept, part.item_type) {
        (Mask::KeepFirst(chars), ItemType::Date | ItemType::Timestamp) => *chars > REGION_CHARS,
        (Mask::KeepLast(chars), ItemType::Date | ItemType::Timestamp) => *chars > AFTER_BIRTH_CHARS,
        (Mask::KeepFirst(chars) | Mask::RegionPrefix(chars), ItemType::Text) => match mask {
            Mask::RegionPrefix(digits) => chars > digits,
            _ => true,
        },
        (Mask::KeepLast(chars), ItemType::Text) => match mask {
            Mask::RegionPrefix(_) => *chars > AFTER_REGION_CHARS,
            _ => *chars > CHECK_CHARS,
        },
        (Mask::KeepFirst(_) | Mask::KeepLast(_), _) => true,
        // A year, bucket, pseudonym or constant of the origin tells no part of it.
        _ => false,
    }
}
