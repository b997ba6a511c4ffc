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
INSERT INTO "api_keys" VALUES('key_041A3KetcQNikfdTE','org_default','proj_default',NULL,NULL,'kept','developer','hr-Z74u','TLjw',X'DBFF7CA648760EFE950A769240BAEBD047DEBD6F7A93DD68454672F2824F8953','{}','{}',1795745506,NULL,NULL,NULL,NULL);
INSERT INTO "api_keys" VALUES('key_19BrPGasklCgVfOmG','org_default','proj_default',NULL,NULL,'revoked','free','hr-El1S','OwHc',X'477BC1CA2D74862734A63144FED92CEBCB369302369D916F83CFA26117B36B61','{}','{}',1795745506,NULL,1795745507,NULL,NULL);
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
INSERT INTO "audit_log" VALUES(1,'audit_log-0fLIOTmdKzFcgfGGS','org_default',1795745506,'api_key.created','operator','operator','operator','','key_041A3KetcQNikfdTE','{"name":"kept","project_id":"proj_default"}');
INSERT INTO "audit_log" VALUES(2,'audit_log-0wG26W4lkzjXXfu4W','org_default',1795745506,'api_key.created','operator','operator','operator','','key_19BrPGasklCgVfOmG','{"name":"revoked","project_id":"proj_default"}');
INSERT INTO "audit_log" VALUES(3,'audit_log-10xQL4SBKBokMHkcI','org_default',1795745507,'api_key.deleted','operator','operator','operator','','key_19BrPGasklCgVfOmG','{"name":"revoked"}');
INSERT INTO "audit_log" VALUES(4,'audit_log-08csbK8bndEj62i11','org_default',1795745507,'user.added','operator','operator','operator','','user-0UPkLu8Boc7VNMO3d','{"email":"root@example.com","role":"owner"}');
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
CREATE TABLE organisations (
                id           TEXT PRIMARY KEY,
                name         TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier         TEXT NOT NULL CHECK (tier IN ('free', 'developer', 'enterprise')),
                created_unix INTEGER NOT NULL
            ) STRICT
            ;
INSERT INTO "organisations" VALUES('org_default','Default','enterprise',1795745506);
CREATE TABLE passwords (
                user_id  TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
                hash     TEXT NOT NULL,
                set_unix INTEGER NOT NULL
            ) STRICT
            ;
INSERT INTO "passwords" VALUES('user-0UPkLu8Boc7VNMO3d','$argon2id$v=19$m=19456,t=2,p=1$jgtgbjrG72+4LLt8PEr5ww$HddI91GU6qxctkxf+Owy7GcuDPsfe+qth4nkPsuxa6I',1795745507);
CREATE TABLE projects (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                created_unix    INTEGER NOT NULL,
                archived_unix   INTEGER,
                UNIQUE (organisation_id, id)
            ) STRICT
            ;
INSERT INTO "projects" VALUES('proj_default','org_default','Default',1795745506,NULL);
CREATE TABLE schema_versions (
            number       INTEGER PRIMARY KEY,
            name         TEXT NOT NULL,
            applied_unix INTEGER NOT NULL
        ) STRICT
        ;
INSERT INTO "schema_versions" VALUES(1,'api_keys',1795745506);
INSERT INTO "schema_versions" VALUES(2,'organisations',1795745506);
INSERT INTO "schema_versions" VALUES(3,'users',1795745506);
INSERT INTO "schema_versions" VALUES(4,'audit_log',1795745506);
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
INSERT INTO "users" VALUES('user-0UPkLu8Boc7VNMO3d','org_default','root@example.com','root@example.com','owner',1795745507);
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
COMMIT;
