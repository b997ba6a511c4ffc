BEGIN TRANSACTION;
CREATE TABLE "api_keys" (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                project_id      TEXT,          -- NULL: for management, of the organisation
                role            TEXT CHECK (role IN ('owner', 'admin', 'member', 'billing',
                                                     'viewer')),
                owner_id        TEXT,          -- a user or service account; NULL: the operator
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier            TEXT           -- NULL: its organisation's
                                CHECK (tier IN ('free', 'developer', 'enterprise')),
                prefix          TEXT NOT NULL,
                last4           TEXT NOT NULL,
                digest          BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                scopes          TEXT NOT NULL CHECK (json_valid(scopes)),
                limits          TEXT NOT NULL CHECK (json_valid(limits)),
                created_unix    INTEGER NOT NULL,
                expires_unix    INTEGER,
                revoked_unix    INTEGER,
                replaced_unix   INTEGER,       -- rotated: the new one has its name
                last_used_unix  INTEGER,
                CHECK ((role IS NULL) = (project_id IS NOT NULL)),
                FOREIGN KEY (organisation_id, project_id)
                    REFERENCES projects (organisation_id, id)
            ) STRICT
            ;
INSERT INTO "api_keys" VALUES('key_0ORtAIEml5Ucn1cNV','org_default','proj_default',NULL,NULL,'kept','developer','hr-fn8U','SIKV',X'818D83256EAA9D0BEDB23ED106D91E8BE25C7CF79264E1075F13AEA2A73209D1','{}','{}',1795745508,NULL,NULL,NULL,1795745460);
INSERT INTO "api_keys" VALUES('key_0VhNB9jYZld6q62GM','org_default','proj_default',NULL,NULL,'revoked','free','hr-7PNH','xf0M',X'93966FB4D2D992E0E6E12CBE04CCDE973A48CA5EA7B119CBB0F49B1F3DBE5DAB','{}','{}',1795745508,NULL,1795745508,NULL,NULL);
CREATE TABLE audit_log (
                number          INTEGER PRIMARY KEY,
                id              TEXT NOT NULL UNIQUE,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                at_unix         INTEGER NOT NULL,
                action          TEXT NOT NULL,
                actor_kind      TEXT NOT NULL
                                CHECK (actor_kind IN ('user', 'api_key', 'operator')),
                actor_id        TEXT NOT NULL,
                actor_name      TEXT NOT NULL,
                address         TEXT NOT NULL,
                target_id       TEXT NOT NULL,
                details         TEXT NOT NULL CHECK (json_valid(details))
            ) STRICT
            ;
INSERT INTO "audit_log" VALUES(1,'audit_log-0YWMHRd8AIsLhXFHs','org_default',1795745508,'api_key.created','operator','operator','operator','','key_0ORtAIEml5Ucn1cNV','{"name":"kept","project_id":"proj_default"}');
INSERT INTO "audit_log" VALUES(2,'audit_log-06BFNZrpfT0rL3Ppa','org_default',1795745508,'api_key.created','operator','operator','operator','','key_0VhNB9jYZld6q62GM','{"name":"revoked","project_id":"proj_default"}');
INSERT INTO "audit_log" VALUES(3,'audit_log-06UZrRSd5Ss9nlSA4','org_default',1795745508,'api_key.deleted','operator','operator','operator','','key_0VhNB9jYZld6q62GM','{"name":"revoked"}');
INSERT INTO "audit_log" VALUES(4,'audit_log-15W6dM9Bg9ANZRxKu','org_default',1795745509,'user.added','operator','operator','operator','','user-0uex4bLspDsWyeOZq','{"email":"root@example.com","role":"owner"}');
CREATE TABLE invites (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                email           TEXT NOT NULL COLLATE NOCASE,
                role            TEXT NOT NULL
                                CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
                digest          BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                created_unix    INTEGER NOT NULL,
                expires_unix    INTEGER NOT NULL,
                accepted_unix   INTEGER,
                UNIQUE (organisation_id, email)
            ) STRICT
            ;
CREATE TABLE leases (
                id              INTEGER PRIMARY KEY,
                organisation_id TEXT NOT NULL,
                front           TEXT NOT NULL,
                micros          INTEGER NOT NULL CHECK (micros > 0),
                spent_micros    INTEGER NOT NULL CHECK (spent_micros BETWEEN 0 AND micros),
                opened_unix     INTEGER NOT NULL,
                is_open         INTEGER NOT NULL CHECK (is_open IN (0, 1))
            ) STRICT
            ;
INSERT INTO "leases" VALUES(1,'org_default','slots-0',1000000,13,1795745510,0);
CREATE TABLE ledger (
                number          INTEGER PRIMARY KEY,
                id              TEXT NOT NULL UNIQUE,
                organisation_id TEXT NOT NULL,
                at_unix         INTEGER NOT NULL,
                kind            TEXT NOT NULL
                                CHECK (kind IN ('top_up', 'grant', 'correction', 'usage')),
                micros          INTEGER NOT NULL,
                reference       TEXT NOT NULL,
                note            TEXT NOT NULL,
                UNIQUE (kind, reference)
            ) STRICT
            ;
INSERT INTO "ledger" VALUES(1,'led_a2802cf0138f92b036947d28','org_default',1795745509,'top_up',10000000,'invoice 17','');
INSERT INTO "ledger" VALUES(2,'led_chatcmpl-5a6835fa-ba8e-446a-a423-8e53da4784f8','org_default',1795745510,'usage',-13,'chatcmpl-5a6835fa-ba8e-446a-a423-8e53da4784f8','');
CREATE TABLE organisations (
                id           TEXT PRIMARY KEY,
                name         TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier         TEXT NOT NULL CHECK (tier IN ('free', 'developer', 'enterprise')),
                created_unix INTEGER NOT NULL
            ) STRICT
            ;
INSERT INTO "organisations" VALUES('org_default','Default','enterprise',1795745508);
CREATE TABLE passwords (
                user_id  TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
                hash     TEXT NOT NULL,
                set_unix INTEGER NOT NULL
            ) STRICT
            ;
INSERT INTO "passwords" VALUES('user-0uex4bLspDsWyeOZq','$argon2id$v=19$m=19456,t=2,p=1$suf8pVhOz8n62tbOsIqseQ$zrVNuFHdtaOsqEfsLXSBbUdL8z33zyUCR1KoOuhzp3o',1795745509);
CREATE TABLE projects (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                created_unix    INTEGER NOT NULL,
                archived_unix   INTEGER,
                UNIQUE (organisation_id, id)
            ) STRICT
            ;
INSERT INTO "projects" VALUES('proj_default','org_default','Default',1795745508,NULL);
CREATE TABLE schema_versions (
            number       INTEGER PRIMARY KEY,
            name         TEXT NOT NULL,
            applied_unix INTEGER NOT NULL
        ) STRICT
        ;
INSERT INTO "schema_versions" VALUES(1,'api_keys',1795745508);
INSERT INTO "schema_versions" VALUES(2,'organisations',1795745508);
INSERT INTO "schema_versions" VALUES(3,'users',1795745508);
INSERT INTO "schema_versions" VALUES(4,'audit_log',1795745508);
INSERT INTO "schema_versions" VALUES(5,'ledger',1795745508);
CREATE TABLE service_accounts (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL,
                project_id      TEXT NOT NULL,
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                created_unix    INTEGER NOT NULL,
                FOREIGN KEY (organisation_id, project_id)
                    REFERENCES projects (organisation_id, id)
            ) STRICT
            ;
CREATE TABLE sessions (
                digest         BLOB PRIMARY KEY CHECK (length(digest) = 32),
                user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                created_unix   INTEGER NOT NULL,
                last_seen_unix INTEGER NOT NULL,
                expires_unix   INTEGER NOT NULL
            ) STRICT
            ;
CREATE TABLE usage_records (
                number            INTEGER PRIMARY KEY,
                request_id        TEXT NOT NULL UNIQUE,
                organisation_id   TEXT NOT NULL,
                project_id        TEXT NOT NULL,
                key_id            TEXT NOT NULL,
                tier              TEXT NOT NULL,
                model             TEXT NOT NULL,
                received_unix     REAL NOT NULL,
                ended_unix        REAL NOT NULL,
                prompt_tokens     INTEGER NOT NULL CHECK (prompt_tokens >= 0),
                cached_tokens     INTEGER NOT NULL
                                  CHECK (cached_tokens BETWEEN 0 AND prompt_tokens),
                completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
                reasoning_tokens  INTEGER NOT NULL,
                status            TEXT NOT NULL CHECK (status IN ('completed', 'interrupted')),
                price_version     TEXT NOT NULL,
                micros            INTEGER NOT NULL CHECK (micros >= 0)
            ) STRICT
            ;
INSERT INTO "usage_records" VALUES(1,'chatcmpl-5a6835fa-ba8e-446a-a423-8e53da4784f8','org_default','proj_default','key_0ORtAIEml5Ucn1cNV','developer','headrace-mini',1.79574551020657491688e+09,1.79574551021229362494e+09,11,0,20,0,'completed','headrace-mini@start',13);
CREATE TABLE users (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                email           TEXT NOT NULL UNIQUE COLLATE NOCASE,
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                role            TEXT NOT NULL
                                CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
                created_unix    INTEGER NOT NULL
            ) STRICT
            ;
INSERT INTO "users" VALUES('user-0uex4bLspDsWyeOZq','org_default','root@example.com','root@example.com','owner',1795745509);
CREATE UNIQUE INDEX api_keys_active_name
            ON api_keys (organisation_id, coalesce(project_id, ''), name)
            WHERE revoked_unix IS NULL AND replaced_unix IS NULL
            ;
CREATE INDEX api_keys_of_owner ON api_keys (owner_id);
CREATE INDEX audit_log_of_organisation ON audit_log (organisation_id, number);
CREATE TRIGGER audit_log_is_never_changed BEFORE UPDATE ON audit_log
            BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_is_never_deleted BEFORE DELETE ON audit_log
            BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE INDEX ledger_of_organisation ON ledger (organisation_id, number);
CREATE INDEX usage_of_organisation ON usage_records (organisation_id, ended_unix);
CREATE INDEX usage_of_key ON usage_records (key_id, ended_unix);
CREATE INDEX leases_open ON leases (organisation_id) WHERE is_open;
CREATE TRIGGER ledger_is_never_updated BEFORE UPDATE ON ledger
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_never_deleted BEFORE DELETE ON ledger
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER usage_records_is_never_updated BEFORE UPDATE ON usage_records
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER usage_records_is_never_deleted BEFORE DELETE ON usage_records
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
COMMIT;
