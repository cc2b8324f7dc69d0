//! Enterprises, sole traders, institutions and social organisations in ascending order of credit code.

use anyhow::Context;
use catalog::identifier::{self, Sex};
use chrono::{Days, NaiveDate};

use super::dice::{Dice, distinct, quotas};
use super::names;
use super::people::today;
use super::places::Places;

/// Kinds in order of their first two characters (GB 32100), with weights.
const KINDS: [(Kind, u64); 6] = [
    (Kind { code: "12", title: "事业单位", form: "中心" }, 4),
    (Kind { code: "51", title: "社会团体", form: "协会" }, 3),
    (Kind { code: "52", title: "民办非企业单位", form: "服务社" }, 2),
    (Kind { code: "91", title: "有限责任公司", form: "有限公司" }, 46),
    (Kind { code: "92", title: "个体工商户", form: "店" }, 42),
    (Kind { code: "93", title: "农民专业合作社", form: "专业合作社" }, 3),
];
/// Word in the name, letter and code of GB/T 4754, scope.
const TRADES: [Trade; 14] = [
    Trade("农业", "A", "0111", "谷物、蔬菜种植；农产品初加工；农产品销售"),
    Trade("食品", "C", "1411", "食品生产；食品销售；粮油仓储服务"),
    Trade("服装", "C", "1819", "服装制造；服饰零售；针纺织品销售"),
    Trade("机械", "C", "3484", "机械零部件加工；通用设备制造；五金产品批发"),
    Trade("电子", "C", "3989", "电子元器件制造；集成电路销售；技术进出口"),
    Trade("建设", "E", "4710", "房屋建筑工程施工；市政设施管理；建筑劳务分包"),
    Trade("商贸", "F", "5111", "日用百货销售；农副产品批发；互联网销售"),
    Trade("医药", "F", "5251", "药品零售；医疗器械销售；保健食品销售"),
    Trade("物流", "G", "5431", "道路货物运输；仓储服务；货物装卸"),
    Trade("餐饮", "H", "6210", "餐饮服务；食品外卖配送；会议服务"),
    Trade("信息技术", "I", "6513", "软件开发；信息系统集成；数据处理服务"),
    Trade("房产", "K", "7030", "房地产经纪；物业管理；住房租赁"),
    Trade("环保", "N", "7723", "固体废物治理；环境保护监测；水污染治理"),
    Trade("教育", "P", "8399", "教育咨询服务；文化艺术培训；托育服务"),
];
const CHARACTERS: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
/// Organisation codes given before 2015 are eight digits, later ones `MA` and six characters.
const OLD_CODES: u32 = 100_000_000;

#[derive(Clone, Copy)]
struct Kind {
    code: &'static str,
    title: &'static str,
    form: &'static str,
}

#[derive(Clone, Copy)]
struct Trade(&'static str, &'static str, &'static str, &'static str);

/// Which entity, before anything else is drawn.
pub struct EntityKey {
    kind: Kind,
    pub place: usize,
    organisation: u32,
}

/// All keys of a plan in ascending order of credit code.
pub struct Entities {
    seed: u64,
    /// Entities by kind and, inside a kind, by place.
    quotas: Vec<Vec<u64>>,
    kind: usize,
    place: usize,
    codes: std::vec::IntoIter<u32>,
}

impl Entities {
    pub fn new(places: &Places, entities: u64, seed: u64) -> Self {
        let weights = places.weights(seed);
        let by_kind = quotas(entities, &KINDS.map(|(_, weight)| weight));
        Self {
            seed,
            quotas: by_kind.into_iter().map(|share| quotas(share, &weights)).collect(),
            kind: 0,
            place: 0,
            codes: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Entities {
    type Item = EntityKey;

    fn next(&mut self) -> Option<EntityKey> {
        loop {
            let at_place = self.place.checked_sub(1);
            if let (Some(place), Some(organisation)) = (at_place, self.codes.next()) {
                return Some(EntityKey { kind: KINDS[self.kind].0, place, organisation });
            }
            if self.place >= self.quotas.get(self.kind)?.len() {
                self.kind += 1;
                self.place = 0;
            } else {
                let count = self.quotas[self.kind][self.place] as usize;
                let mut dice = Dice::new(self.seed, 5 + self.kind as u64, self.place as u64);
                self.codes = distinct(count, || {
                    let new = dice.chance(600);
                    u32::from(new) * OLD_CODES + dice.roll(OLD_CODES.into()) as u32
                })
                .into_iter();
                self.place += 1;
            }
        }
    }
}

/// One row of `legal_entity.enterprise`.
pub struct Entity {
    pub uscc: String,
    pub name: String,
    pub kind: &'static str,
    pub legal_representative: String,
    /// 万元, as the registry writes it.
    pub registered_capital: Option<String>,
    pub currency: &'static str,
    pub established_on: NaiveDate,
    pub approved_on: NaiveDate,
    pub term_to: Option<NaiveDate>,
    pub status: &'static str,
    pub business_scope: String,
    pub address: Option<String>,
    pub region_code: String,
    pub registrar: String,
    pub industry_letter: &'static str,
    pub industry_code: &'static str,
    /// UTC seconds.
    pub updated_at_s: i64,
}

impl Entity {
    pub fn draw(places: &Places, seed: u64, key: &EntityKey) -> anyhow::Result<Self> {
        let place = &places.all[key.place];
        let uscc = identifier::compose_uscc(key.kind.code, &place.code, &organisation_code(key.organisation))
            .with_context(|| format!("division `{}` makes no credit codes; correct its code", place.code))?;
        let mut dice = Dice::new(seed, 11, (key.place as u64) << 32 | u64::from(key.organisation));
        let trade = dice.pick(&TRADES);
        let sex = if dice.chance(680) { Sex::Male } else { Sex::Female };
        let representative = format!("{}{}", names::surname(&mut dice), names::given_name(&mut dice, sex));
        let established_on = established(key.organisation, &mut dice);
        let open_days = (today() - established_on).num_days().max(0) as u64;
        let for_business = matches!(key.kind.code, "91" | "92" | "93");
        Ok(Self {
            uscc,
            name: format!("{}{}{}{}", place.county, names::brand(&mut dice), trade.0, key.kind.form),
            kind: key.kind.title,
            legal_representative: representative,
            registered_capital: (!dice.chance(20)).then(|| capital(key.kind.code, &mut dice)),
            currency: if dice.chance(985) { "CNY" } else { dice.pick(&["USD", "HKD", "EUR"]) },
            established_on,
            approved_on: established_on + Days::new(dice.roll(open_days + 1)),
            term_to: dice.chance(300).then(|| established_on + Days::new(365 * dice.pick(&[10, 20, 30]))),
            status: dice.weigh(&[("存续", 78), ("注销", 14), ("吊销", 5), ("迁出", 3)]),
            business_scope: match for_business {
                true => format!("一般项目：{}。", trade.3),
                false => format!("宗旨和业务范围：{}相关公益服务。", trade.0),
            },
            address: (!dice.chance(8))
                .then(|| format!("{}{}", place.full_name, names::street_address(&mut dice))),
            region_code: place.code.clone(),
            registrar: format!("{}{}", place.county, registrar(key.kind.code)),
            industry_letter: trade.1,
            industry_code: trade.2,
            updated_at_s: dice.between(1_704_067_200, 1_782_777_600),
        })
    }
}

/// Later than its kind of organisation code allows, and not after the day the world is seen.
fn established(organisation: u32, dice: &mut Dice) -> NaiveDate {
    let (from, to) = match organisation < OLD_CODES {
        true => ((1984, 1, 1), (2015, 9, 30)),
        false => ((2015, 10, 1), (2026, 6, 30)),
    };
    let date = |(year, month, day)| NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
    let (from, to) = (date(from), date(to).min(today()));
    from + Days::new(dice.roll((to - from).num_days() as u64 + 1))
}

fn registrar(kind: &str) -> &'static str {
    match kind {
        "91" | "92" | "93" => "市场监督管理局",
        "12" => "事业单位登记管理局",
        _ => "民政局",
    }
}

fn capital(kind: &str, dice: &mut Dice) -> String {
    match kind {
        "91" => format!("{}.00", dice.pick(&[10, 30, 50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000])),
        "92" => format!("{}.{:02}", 1 + dice.roll(20), dice.roll(100)),
        _ => format!("{}.5000", 3 + dice.roll(200)),
    }
}

/// Eight characters in the order of the number.
fn organisation_code(number: u32) -> String {
    let Some(mut rest) = number.checked_sub(OLD_CODES) else {
        return format!("{number:08}");
    };
    let mut characters = *b"MA000000";
    for slot in characters[2..].iter_mut().rev() {
        *slot = CHARACTERS[(rest % 31) as usize];
        rest /= 31;
    }
    characters.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisation_codes_keep_their_order() {
        let check = |number: u32, expect: &str| assert_eq!(organisation_code(number), expect);
        check(0, "00000000");
        check(99_999_999, "99999999");
        check(100_000_000, "MA000000");
        check(100_000_030, "MA00000Y");
        check(100_000_031, "MA000010");
    }
}
