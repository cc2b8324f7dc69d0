//! The story: what a department, a provider and a reviewer do, as plain HTTP calls printed with their `curl` lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::register::ENTERPRISE;
use crate::audit::Log;
use crate::audit::verify::{verify_directory, verify_receipt};

/// One call of the story; `story.json` holds them in order.
#[derive(Debug, Clone, Serialize)]
struct Step {
    name: &'static str,
    method: &'static str,
    path: String,
    /// Whose token.
    #[serde(rename = "as")]
    account: &'static str,
    headers: BTreeMap<&'static str, String>,
    body: Option<Value>,
    /// The status it must have.
    status: u16,
    #[serde(skip)]
    says: &'static str,
}

/// Calls the hub as one of the demo's people.
pub(super) struct Client<'a> {
    http: reqwest::Client,
    base_url: &'a str,
    tokens: &'a BTreeMap<String, String>,
}

struct Said {
    status: u16,
    receipt: Option<String>,
    bytes: Vec<u8>,
}

const OPERATOR: &str = "civil-affairs.operator";
const REVIEWER: &str = "data-authority.reviewer";

/// Seeds the grants, tells every step, then checks receipt and record offline.
pub async fn tell(
    directory: &Path,
    base_url: &str,
    tokens: &BTreeMap<String, String>,
    verifier_key: &Path,
    log: &Log,
) -> anyhow::Result<()> {
    let client = Client { http: reqwest::Client::new(), base_url, tokens };
    let grants = seed(&client).await?;
    let person = someone(&directory.join("sources/population/resident.parquet"))?;
    let steps = steps(&client, &person, &grants).await?;
    std::fs::write(directory.join("story.json"), serde_json::to_string_pretty(&steps)?)?;
    println!("\nThe story on {base_url}; it is in {} too.", directory.join("story.json").display());
    let mut kept = None;
    for (index, step) in steps.iter().enumerate() {
        println!("\n{}. {}\n   {}", index + 1, step.name, step.says);
        println!("   {}", curl(base_url, directory, step));
        let start = Instant::now();
        let said = client.call(step).await?;
        println!("   → {} in {} ms {}", said.status, start.elapsed().as_millis(), shortened(&said.bytes));
        ensure!(
            said.status == step.status,
            "step `{}` gave {} instead of {}",
            step.name,
            said.status,
            step.status
        );
        if index == 0 {
            ensure!(!contains(&said.bytes, person.as_bytes()), "a masked answer shows an ID number");
            kept = said.receipt.map(|receipt| (receipt, said.bytes));
        }
    }
    let (receipt, answer) = kept.context("the first answer came without a receipt")?;
    // Tiles are published once a second; the check below is to see every call above in them.
    ensure!(log.publish().await, "the record's tiles could not be published");
    check_offline(&client, directory, verifier_key, &receipt, &answer).await
}

/// The steps in order: what is permitted, what is not, and the reviewer.
async fn steps(client: &Client<'_>, person: &str, grants: &Seeded) -> anyhow::Result<Vec<Step>> {
    let sql = "SELECT max(uscc) AS uscc FROM legal_entity.enterprise WHERE uscc LIKE '91%'";
    let uscc = client.first_cell(sql, "uscc", &grants.register).await?;
    let grouping = if client.has_item("province").await? { "province" } else { "substr(uscc, 3, 2)" };
    let mut steps = permitted(person, &uscc, grouping, grants);
    steps.extend(refused(grants));
    let record = "SELECT index, account, operation, status, code, reasons FROM system.audit \
                  WHERE kind = 'call' ORDER BY index DESC LIMIT 6";
    steps.push(step(
        "The reviewer reads the record",
        "Every call above is there, the refused ones too; this reading will be as well.",
        REVIEWER,
        "/v1/queries",
        json!({"sql": record, "purpose": "audit"}),
        200,
    ));
    Ok(steps)
}

fn permitted(person: &str, uscc: &str, grouping: &str, grants: &Seeded) -> Vec<Step> {
    let people = "SELECT name, birth_date, residence_code FROM population.resident \
                  WHERE marital_status = $1 ORDER BY residence_code, name LIMIT 3";
    let by_place = format!(
        "SELECT {grouping} AS place, count(*) AS enterprises FROM {ENTERPRISE} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
    );
    let resident = json!({
        "resource": "population.resident", "keys": [{"id_number": person}],
        "purpose": "minimum-living-allowance", "case": "2026-0001", "operator": OPERATOR,
        "grants": [grants.residents],
    });
    let register =
        json!({"sql": by_place, "purpose": "enterprise-registration-check", "grants": [grants.register]});
    let enterprise = json!({
        "resource": ENTERPRISE, "keys": [{"uscc": uscc}], "purpose": "enterprise-registration-check",
        "grants": [grants.register],
    });
    vec![
        step(
            "A permitted query",
            "Names and birth dates are masked; only people of the department's province exist for it.",
            OPERATOR,
            "/v1/queries",
            ask(people, json!(["10"]), &grants.residents),
            200,
        ),
        step(
            "A look-up of one person",
            "By ID number, which is used and never echoed.",
            OPERATOR,
            "/v1/lookups",
            resident,
            200,
        ),
        step(
            "Enterprises, point to point",
            "Counted where the register lives, not copied.",
            OPERATOR,
            "/v1/queries",
            register,
            200,
        ),
        step(
            "A look-up of one enterprise",
            "By social credit code.",
            OPERATOR,
            "/v1/lookups",
            enterprise,
            200,
        ),
    ]
}

fn refused(grants: &Seeded) -> Vec<Step> {
    let other_purpose = json!({
        "sql": "SELECT name FROM population.resident LIMIT 1", "purpose": "credit-review",
        "case": "2026-0001", "operator": OPERATOR, "grants": [grants.residents],
    });
    let suspended = json!({
        "sql": "SELECT count(*) AS n FROM population.resident", "purpose": "employment-support",
        "case": "2026-0002", "operator": "human-resources.operator", "grants": [grants.suspended],
    });
    let hidden =
        ask("SELECT residence_address FROM population.resident LIMIT $1", json!([1]), &grants.residents);
    vec![
        step(
            "Another purpose is refused",
            "The rule and where to apply are named.",
            OPERATOR,
            "/v1/queries",
            other_purpose,
            403,
        ),
        step(
            "An item that is not granted is not found",
            "Like one that does not exist.",
            OPERATOR,
            "/v1/queries",
            hidden,
            404,
        ),
        step(
            "A suspended grant",
            "Human resources' grant was suspended by public security.",
            "human-resources.operator",
            "/v1/queries",
            suspended,
            403,
        ),
    ]
}

fn step(
    name: &'static str,
    says: &'static str,
    account: &'static str,
    path: &str,
    body: Value,
    status: u16,
) -> Step {
    let headers = BTreeMap::from([("content-type", "application/json".to_owned())]);
    Step { name, method: "POST", path: path.to_owned(), account, headers, body: Some(body), status, says }
}

fn ask(sql: &str, params: Value, grant: &str) -> Value {
    json!({"sql": sql, "params": params, "purpose": "minimum-living-allowance", "case": "2026-0001", "operator": OPERATOR, "grants": [grant]})
}

/// Ids of the grants the story names, so that other grants of the directory do not matter.
struct Seeded {
    residents: String,
    suspended: String,
    register: String,
}

/// Applies for and grants what the story needs; each act has its own key, so a second start changes nothing.
async fn seed(client: &Client<'_>) -> anyhow::Result<Seeded> {
    let plain = |item: &str| json!({"item": item});
    let resident = json!([
        {"item": "name", "mask": {"keep_first": 1}}, plain("sex"), {"item": "birth_date", "mask": "year"},
        plain("residence_code"), plain("marital_status"), plain("record_flag"),
    ]);
    let province = json!({"compare": {"item": "residence_code", "op": "like_prefix", "value": "33"}});
    let residents = terms(
        json!(["query", "lookup"]),
        json!(["id_number"]),
        resident.clone(),
        Some(province),
        "minimum-living-allowance",
        "《社会救助暂行办法》",
    );
    let mut jobs = terms(json!(["query"]), json!([]), resident, None, "employment-support", "《就业促进法》");
    jobs["systems"] = json!([]);
    let register = client.enterprise_items().await?.iter().map(|item| plain(item)).collect();
    let enterprises = terms(
        json!(["query", "lookup"]),
        json!(["uscc"]),
        register,
        None,
        "enterprise-registration-check",
        "《企业信息公示暂行条例》",
    );
    let penalty = json!([
        plain("document_number"),
        plain("kind"),
        plain("fine"),
        plain("decided_on"),
        plain("authority")
    ]);
    let penalties = terms(
        json!(["query", "lookup"]),
        json!(["subject"]),
        penalty,
        None,
        "minimum-living-allowance",
        "《社会救助暂行办法》",
    );
    let residents = client
        .granted("population.resident", "civil-affairs", "public-security", "seed-1", residents)
        .await?;
    let suspended =
        client.granted("population.resident", "human-resources", "public-security", "seed-2", jobs).await?;
    let register =
        client.granted(ENTERPRISE, "civil-affairs", "market-regulation", "seed-3", enterprises).await?;
    client.granted("credit.penalty", "civil-affairs", "credit-office", "seed-4", penalties).await?;
    let path = format!("/v1/grants/{suspended}/suspend");
    client
        .act("public-security.sharing-head", &path, "seed-5", json!({"reason": "usage record not filed"}))
        .await?;
    Ok(Seeded { residents, suspended, register })
}

fn terms(
    operations: Value,
    input: Value,
    output: Value,
    scope: Option<Value>,
    purpose: &str,
    basis: &str,
) -> Value {
    let mut terms = json!({
        "operations": operations, "input": input, "output": output, "purpose": purpose, "basis": basis,
        "standing": ["operator"], "systems": [super::fill::SYSTEM],
        "valid_from": "2026-01-01T00:00:00+08:00", "valid_until": "2029-01-01T00:00:00+08:00",
        "rows_per_answer_max": 10_000, "rows_per_day_max": 1_000_000, "calls_per_minute_max": 6_000,
    });
    if let (Some(scope), Some(members)) = (scope, terms.as_object_mut()) {
        members.insert("scope".to_owned(), scope);
    }
    terms
}

impl Client<'_> {
    async fn call(&self, step: &Step) -> anyhow::Result<Said> {
        let token = self.tokens.get(step.account).context("no such token")?;
        let method = reqwest::Method::from_bytes(step.method.as_bytes())?;
        let mut request =
            self.http.request(method, format!("{}{}", self.base_url, step.path)).bearer_auth(token);
        for (name, value) in &step.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &step.body {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let receipt = response.headers().get("tongqu-receipt");
        let receipt = receipt.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Said { status, receipt, bytes: response.bytes().await?.to_vec() })
    }

    async fn act(&self, account: &'static str, path: &str, key: &str, body: Value) -> anyhow::Result<Value> {
        let mut step = step("seed", "", account, path, body, 0);
        step.headers.insert("idempotency-key", key.to_owned());
        let said = self.call(&step).await?;
        let text = String::from_utf8_lossy(&said.bytes).into_owned();
        ensure!(said.status < 300, "`{path}` as {account} gave {}: {text}", said.status);
        Ok(serde_json::from_slice(&said.bytes)?)
    }

    /// Application by the applicant's head, grant by the provider's: the id of the grant.
    async fn granted(
        &self,
        resource: &str,
        applicant: &str,
        provider: &str,
        key: &str,
        terms: Value,
    ) -> anyhow::Result<String> {
        let head = |department: &str| match department {
            "civil-affairs" => "civil-affairs.sharing-head",
            "human-resources" => "human-resources.sharing-head",
            "public-security" => "public-security.sharing-head",
            "market-regulation" => "market-regulation.sharing-head",
            _ => "credit-office.sharing-head",
        };
        let body = json!({"resource": resource, "terms": terms});
        let application =
            self.act(head(applicant), "/v1/applications", &format!("{key}-apply"), body).await?;
        let body = json!({"application": application["id"]});
        let grant = self.act(head(provider), "/v1/grants", &format!("{key}-grant"), body).await?;
        Ok(grant["id"].as_str().context("a grant without an id")?.to_owned())
    }

    async fn get(&self, account: &'static str, path: String) -> anyhow::Result<Said> {
        let step = Step {
            name: "",
            method: "GET",
            path,
            account,
            headers: BTreeMap::new(),
            body: None,
            status: 200,
            says: "",
        };
        let said = self.call(&step).await?;
        ensure!(said.status == 200, "`{}` gave {}", step.path, said.status);
        Ok(said)
    }

    async fn enterprise_items(&self) -> anyhow::Result<Vec<String>> {
        let said = self.get(OPERATOR, format!("/v1/resources/{ENTERPRISE}")).await?;
        let entry: Value = serde_json::from_slice(&said.bytes)?;
        let items = entry["items"].as_array().context("an entry without items")?;
        Ok(items.iter().filter_map(|item| item["name"].as_str()).map(str::to_owned).collect())
    }

    async fn has_item(&self, item: &str) -> anyhow::Result<bool> {
        Ok(self.enterprise_items().await?.iter().any(|have| have == item))
    }

    async fn first_cell(&self, sql: &str, column: &str, grant: &str) -> anyhow::Result<String> {
        let body = json!({"sql": sql, "purpose": "enterprise-registration-check", "grants": [grant]});
        let said = self.call(&step("seed", "", OPERATOR, "/v1/queries", body, 200)).await?;
        let answer: Value = serde_json::from_slice(&said.bytes)?;
        Ok(answer["rows"][0][column].as_str().with_context(|| format!("no `{column}`: {answer}"))?.to_owned())
    }
}

/// An ID number that the province's department may look up.
fn someone(file: &Path) -> anyhow::Result<String> {
    use datafusion::arrow::array::AsArray;
    use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id_number", "residence_code"]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column `{name}`"));
        let (ids, codes) =
            (column("id_number")?.as_string::<i32>(), column("residence_code")?.as_string::<i32>());
        let found =
            ids.iter().zip(codes.iter()).find(|(_, code)| code.is_some_and(|code| code.starts_with("33")));
        if let Some((Some(id), _)) = found {
            return Ok(id.to_owned());
        }
    }
    anyhow::bail!("nobody lives in region 33; use more `--residents`")
}

/// Receipt and record, checked with public keys and files only.
async fn check_offline(
    client: &Client<'_>,
    directory: &Path,
    verifier_key: &Path,
    receipt: &str,
    answer: &[u8],
) -> anyhow::Result<()> {
    let said = client.get(OPERATOR, format!("/v1/receipts/{receipt}")).await?;
    let (receipt_file, answer_file) = (directory.join("receipt.json"), directory.join("answer.json"));
    std::fs::write(&receipt_file, &said.bytes)?;
    std::fs::write(&answer_file, answer)?;
    let key = std::fs::read_to_string(verifier_key)?;
    println!("\nOffline: the receipt of step 1 against the answer's bytes, then the whole record.");
    println!(
        "   tongqu receipt verify {} --key {} --answer {}",
        receipt_file.display(),
        verifier_key.display(),
        answer_file.display()
    );
    println!("   → {}", verify_receipt(&said.bytes, key.trim(), Some(answer))?);
    let mut changed = answer.to_vec();
    if let Some(byte) = changed.last_mut() {
        *byte ^= 1;
    }
    ensure!(verify_receipt(&said.bytes, key.trim(), Some(&changed)).is_err(), "a changed answer passed");
    println!("   (one changed bit in the answer: refused)");
    let record = directory.join("audit");
    println!("   tongqu audit verify {} --key {}", record.display(), verifier_key.display());
    println!("   → {}", verify_directory(&record, key.trim())?);
    Ok(())
}

fn curl(base_url: &str, directory: &Path, step: &Step) -> String {
    let credentials = directory.join("credentials.json");
    let token = format!(r#"$(sed -n 's/.*"{}": "\(.*\)".*/\1/p' {})"#, step.account, credentials.display());
    let mut line = format!("curl -s {base_url}{} -H \"authorization: Bearer {token}\"", step.path);
    for (name, value) in &step.headers {
        line.push_str(&format!(" -H '{name}: {value}'"));
    }
    if let Some(body) = &step.body {
        line.push_str(&format!(" -d '{}'", body.to_string().replace('\'', r"'\''")));
    }
    line
}

fn shortened(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 900;
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
