-- Departments and accounts in versions: until the record holds a change, what it replaces still counts.

CREATE TABLE department_version (
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (id, revision)
);
INSERT INTO department_version (id, body, revision) SELECT id, body, revision FROM department;
DROP TABLE department;

CREATE TABLE account_version (
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (id, revision)
);
CREATE INDEX account_version_token ON account_version (issuer, subject);
INSERT INTO account_version (id, kind, issuer, subject, body, revision)
  SELECT id, kind, issuer, subject, body, revision FROM account;
DROP TABLE account;
