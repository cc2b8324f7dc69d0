-- Facts the hub decides on. One SQL text for SQLite and PostgreSQL: TEXT and BIGINT (UTC microseconds) only.
-- Every fact carries the store revision that made it; a fact counts once the record holds that revision.

CREATE TABLE department (
  id TEXT NOT NULL PRIMARY KEY,
  body TEXT NOT NULL,
  revision BIGINT NOT NULL
);

-- People (issuer and subject of their tokens) and systems (issuer = subject = id).
CREATE TABLE account (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  revision BIGINT NOT NULL,
  UNIQUE (issuer, subject)
);

CREATE TABLE resource (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  provider TEXT NOT NULL,
  body TEXT NOT NULL,
  published_us BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (name, version)
);
CREATE INDEX resource_id ON resource (id);

CREATE TABLE application (
  id TEXT NOT NULL PRIMARY KEY,
  resource TEXT NOT NULL,
  applicant_department TEXT NOT NULL,
  applicant_account TEXT NOT NULL,
  provider TEXT NOT NULL,
  terms TEXT NOT NULL,
  signed_us BIGINT NOT NULL,
  text_sha256 TEXT NOT NULL,
  revision BIGINT NOT NULL
);
CREATE INDEX application_applicant ON application (applicant_department, id);
CREATE INDEX application_provider ON application (provider, id);

-- Every version of every grant; the newest effective one is the grant.
CREATE TABLE grant_version (
  id TEXT NOT NULL,
  version BIGINT NOT NULL,
  application TEXT NOT NULL,
  resource TEXT NOT NULL,
  grantee TEXT NOT NULL,
  provider TEXT NOT NULL,
  state TEXT NOT NULL,
  suspended_by_authority BIGINT NOT NULL,
  terms TEXT NOT NULL,
  signed_by TEXT NOT NULL,
  signed_us BIGINT NOT NULL,
  text_sha256 TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (id, version)
);
CREATE INDEX grant_holder ON grant_version (grantee, resource);
CREATE INDEX grant_provider ON grant_version (provider, resource);
-- One application is granted once.
CREATE UNIQUE INDEX grant_application ON grant_version (application, version);

-- A change and its entry are one transaction; `recorded` turns 1 when the entry is durable.
CREATE TABLE outbox (
  revision BIGINT NOT NULL PRIMARY KEY,
  entry TEXT NOT NULL,
  recorded BIGINT NOT NULL
);
CREATE INDEX outbox_open ON outbox (recorded, revision);

-- The answer already given for an Idempotency-Key of an account.
CREATE TABLE idempotency (
  account TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  call_sha256 TEXT NOT NULL,
  status BIGINT NOT NULL,
  answer TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (account, idempotency_key)
);
