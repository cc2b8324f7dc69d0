//! Names of people, roads and enterprises that never were: short lists of our own, put together by dice.

use super::dice::Dice;
use catalog::identifier::Sex;

const SURNAMES: [(&str, u64); 60] = [
    ("王", 72),
    ("李", 70),
    ("张", 67),
    ("刘", 52),
    ("陈", 46),
    ("杨", 31),
    ("黄", 22),
    ("赵", 21),
    ("吴", 20),
    ("周", 20),
    ("徐", 15),
    ("孙", 14),
    ("马", 13),
    ("朱", 13),
    ("胡", 12),
    ("郭", 12),
    ("何", 11),
    ("林", 11),
    ("高", 10),
    ("罗", 10),
    ("郑", 9),
    ("梁", 9),
    ("谢", 8),
    ("宋", 8),
    ("唐", 7),
    ("许", 7),
    ("邓", 7),
    ("冯", 6),
    ("韩", 6),
    ("曹", 6),
    ("曾", 5),
    ("彭", 5),
    ("萧", 5),
    ("蔡", 5),
    ("潘", 5),
    ("田", 5),
    ("董", 5),
    ("袁", 5),
    ("于", 5),
    ("余", 5),
    ("叶", 5),
    ("蒋", 5),
    ("杜", 5),
    ("苏", 4),
    ("魏", 4),
    ("程", 4),
    ("吕", 4),
    ("丁", 4),
    ("沈", 4),
    ("任", 4),
    ("姚", 4),
    ("卢", 4),
    ("傅", 4),
    ("钟", 4),
    ("姜", 3),
    ("崔", 3),
    ("谭", 3),
    ("欧阳", 1),
    ("司徒", 1),
    ("诸葛", 1),
];
const MALE: [&str; 48] = [
    "伟", "强", "磊", "军", "勇", "涛", "超", "明", "刚", "平", "辉", "鹏", "华", "飞", "鑫", "波", "斌",
    "宇", "浩", "凯", "健", "俊", "帆", "旭", "宁", "龙", "林", "阳", "建", "亮", "成", "东", "志", "国",
    "文", "海", "峰", "博", "远", "航", "松", "柏", "然", "泽", "轩", "铭", "川", "岩",
];
const FEMALE: [&str; 48] = [
    "芳", "娜", "敏", "静", "丽", "艳", "娟", "霞", "秀", "玲", "燕", "红", "桂", "英", "兰", "洁", "梅",
    "琳", "萍", "雪", "慧", "颖", "倩", "婷", "欣", "怡", "佳", "瑶", "琴", "云", "莹", "悦", "诗", "雨",
    "晴", "月", "莲", "珍", "淑", "素", "菊", "凤", "岚", "黛", "蕾", "薇", "茜", "筠",
];
const ROADS: [&str; 28] = [
    "人民", "解放", "中山", "建设", "和平", "新华", "文化", "胜利", "青年", "学府", "滨江", "环城", "长江",
    "黄河", "迎宾", "兴业", "振兴", "育才", "光明", "团结", "友谊", "东湖", "南门", "西苑", "北关", "桂花",
    "梧桐", "丰收",
];
const BRANDS: [&str; 40] = [
    "恒", "瑞", "鼎", "盛", "宏", "泰", "嘉", "信", "达", "源", "通", "德", "康", "顺", "隆", "荣", "锦",
    "汇", "联", "创", "新", "科", "远", "安", "和", "祥", "裕", "茂", "正", "诚", "佳", "益", "华", "海",
    "天", "星", "云", "木", "禾", "川",
];

pub fn surname(dice: &mut Dice) -> &'static str {
    dice.weigh(&SURNAMES)
}

/// One or two characters.
pub fn given_name(dice: &mut Dice, sex: Sex) -> String {
    let list = match sex {
        Sex::Male => &MALE,
        Sex::Female => &FEMALE,
    };
    let mut name = dice.pick(list).to_owned();
    if dice.chance(800) {
        name.push_str(dice.pick(list));
    }
    name
}

/// Road and number; flats for most.
pub fn street_address(dice: &mut Dice) -> String {
    let road = dice.pick(&ROADS);
    let (lane, number) = (dice.pick(&["路", "街", "大道", "巷"]), 1 + dice.roll(999));
    if dice.chance(700) {
        let (building, unit) = (1 + dice.roll(48), 1 + dice.roll(4));
        let room = (1 + dice.roll(18)) * 100 + 1 + dice.roll(4);
        format!("{road}{lane}{number}号{building}幢{unit}单元{room}室")
    } else {
        format!("{road}{lane}{number}号")
    }
}

/// Two to three characters before the trade of an enterprise.
pub fn brand(dice: &mut Dice) -> String {
    let mut name: String = (0..2).map(|_| dice.pick(&BRANDS)).collect();
    if dice.chance(300) {
        name.push_str(dice.pick(&BRANDS));
    }
    name
}
