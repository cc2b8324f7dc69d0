//! What permits, penalties and serious breaches there are: wording modelled on published 双公示 records.

/// Offices of a county (and its court) that decide permits, penalties and listings.
pub const OFFICES: [&str; 13] = [
    "市场监督管理局",
    "交通运输局",
    "生态环境局",
    "住房和城乡建设局",
    "卫生健康局",
    "应急管理局",
    "文化广电旅游局",
    "公安局",
    "教育局",
    "综合行政执法局",
    "税务局",
    "人力资源和社会保障局",
    "人民法院",
];

#[derive(Clone, Copy)]
pub struct Permit {
    /// Which office of the county decides it; one of [`OFFICES`].
    pub office: &'static str,
    pub certificate: &'static str,
    /// Before the ten digits of the certificate's number.
    pub prefix: &'static str,
    pub kind: &'static str,
    pub content: &'static str,
    /// Term; none for long-term.
    pub years: Option<u32>,
}

#[derive(Clone, Copy)]
pub struct Penalty {
    /// Which office of the county decides it; one of [`OFFICES`].
    pub office: &'static str,
    pub act: &'static str,
    pub facts: &'static str,
    pub basis: &'static str,
    pub kind: &'static str,
    pub fine_max_yuan: i64,
    /// How long the penalty is public.
    pub public_years: u32,
}

#[derive(Clone, Copy)]
pub struct Breach {
    /// Which office of the county decides it; one of [`OFFICES`].
    pub office: &'static str,
    pub reason: &'static str,
    pub basis: &'static str,
}

const fn permit(
    office: &'static str,
    certificate: &'static str,
    prefix: &'static str,
    kind: &'static str,
    content: &'static str,
    years: Option<u32>,
) -> Permit {
    Permit { office, certificate, prefix, kind, content, years }
}

pub const ENTITY_PERMITS: [Permit; 7] = [
    permit("市场监督管理局", "食品经营许可证", "JY", "普通", "食品销售、餐饮服务", Some(5)),
    permit("市场监督管理局", "药品经营许可证", "YP", "普通", "药品零售", Some(5)),
    permit("交通运输局", "道路运输经营许可证", "DY", "普通", "道路普通货物运输", Some(4)),
    permit("生态环境局", "排污许可证", "PW", "普通", "排放水污染物、大气污染物", Some(5)),
    permit("住房和城乡建设局", "建筑业企业资质证书", "JZ", "核准", "建筑工程施工总承包三级", Some(5)),
    permit("卫生健康局", "公共场所卫生许可证", "WS", "普通", "住宿场所卫生", Some(4)),
    permit("文化广电旅游局", "出版物经营许可证", "CB", "普通", "图书、报刊零售", None),
];

pub const PERSON_PERMITS: [Permit; 6] = [
    permit("公安局", "机动车驾驶证", "JS", "认可", "准予驾驶小型汽车", Some(10)),
    permit("教育局", "教师资格证书", "JSZG", "认可", "初级中学教师资格", None),
    permit("卫生健康局", "护士执业证书", "HS", "认可", "准予护士执业注册", Some(5)),
    permit("市场监督管理局", "执业药师注册证", "YS", "认可", "准予执业药师注册", Some(5)),
    permit("住房和城乡建设局", "二级建造师注册证书", "JZS", "认可", "准予建筑工程专业注册", Some(3)),
    permit("文化广电旅游局", "导游证", "DY", "认可", "准予从事导游业务", Some(3)),
];

const fn penalty(
    office: &'static str,
    act: &'static str,
    facts: &'static str,
    basis: &'static str,
    kind: &'static str,
    fine_max_yuan: i64,
    public_years: u32,
) -> Penalty {
    Penalty { office, act, facts, basis, kind, fine_max_yuan, public_years }
}

pub const ENTITY_PENALTIES: [Penalty; 6] = [
    penalty(
        "市场监督管理局",
        "未经许可从事食品经营",
        "经营场所未取得食品经营许可从事餐饮服务",
        "《食品安全法》第一百二十二条",
        "罚款",
        100_000,
        3,
    ),
    penalty(
        "市场监督管理局",
        "发布虚假广告",
        "在网店页面宣传商品功效与实际不符",
        "《广告法》第五十五条",
        "罚款",
        200_000,
        1,
    ),
    penalty(
        "生态环境局",
        "超标排放水污染物",
        "排放口监测浓度超过许可排放限值",
        "《水污染防治法》第八十三条",
        "罚款",
        500_000,
        3,
    ),
    penalty(
        "市场监督管理局",
        "未按规定公示年度报告",
        "逾期未报送上一年度年度报告",
        "《企业信息公示暂行条例》第十七条",
        "警告",
        1_000,
        1,
    ),
    penalty(
        "应急管理局",
        "安全生产培训不到位",
        "未对新上岗人员进行三级安全教育",
        "《安全生产法》第九十七条",
        "罚款",
        50_000,
        1,
    ),
    penalty(
        "交通运输局",
        "超限运输",
        "货运车辆车货总质量超过限定标准",
        "《公路安全保护条例》第六十四条",
        "罚款",
        30_000,
        1,
    ),
];

pub const PERSON_PENALTIES: [Penalty; 4] = [
    penalty(
        "市场监督管理局",
        "无证经营",
        "未取得许可在路边从事食品摊贩经营",
        "《食品安全法》第一百二十二条",
        "罚款",
        5_000,
        1,
    ),
    penalty(
        "交通运输局",
        "非法营运",
        "驾驶私家车从事网约车经营",
        "《网络预约出租汽车经营服务管理暂行办法》第三十四条",
        "罚款",
        20_000,
        1,
    ),
    penalty(
        "公安局",
        "违规燃放烟花爆竹",
        "在禁放区域燃放烟花爆竹",
        "《烟花爆竹安全管理条例》第四十二条",
        "罚款",
        500,
        1,
    ),
    penalty(
        "综合行政执法局",
        "未按规定处置建筑垃圾",
        "随意倾倒装修垃圾",
        "《城市建筑垃圾管理规定》第二十六条",
        "警告",
        200,
        1,
    ),
];

pub const BREACHES: [Breach; 4] = [
    Breach {
        office: "人民法院",
        reason: "被人民法院列为失信被执行人",
        basis: "《最高人民法院关于公布失信被执行人名单信息的若干规定》第一条",
    },
    Breach {
        office: "市场监督管理局",
        reason: "列入市场监督管理严重违法失信名单",
        basis: "《市场监督管理严重违法失信名单管理办法》第二条",
    },
    Breach {
        office: "税务局",
        reason: "重大税收违法失信主体",
        basis: "《重大税收违法失信主体信息公布管理办法》第六条",
    },
    Breach {
        office: "人力资源和社会保障局",
        reason: "拖欠农民工工资失信联合惩戒对象",
        basis: "《拖欠农民工工资失信联合惩戒对象名单管理暂行办法》第五条",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decider_is_known() {
        let permits = ENTITY_PERMITS.iter().chain(&PERSON_PERMITS).map(|permit| permit.office);
        let penalties = ENTITY_PENALTIES.iter().chain(&PERSON_PENALTIES).map(|penalty| penalty.office);
        for office in permits.chain(penalties).chain(BREACHES.iter().map(|breach| breach.office)) {
            assert!(OFFICES.contains(&office), "{office}");
        }
    }
}
