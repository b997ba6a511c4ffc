BEGIN TRANSACTION;
CREATE TABLE api_keys (
                id             TEXT PRIMARY KEY,
                name           TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier           TEXT NOT NULL CHECK (tier IN ('free', 'developer', 'enterprise')),
                prefix         TEXT NOT NULL,
                last4          TEXT NOT NULL,
                digest         BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                created_unix   INTEGER NOT NULL,
                revoked_unix   INTEGER,
                last_used_unix INTEGER
            ) STRICT
            ;
INSERT INTO "api_keys" VALUES('key_0DkJyOulmOYYnOJLb','kept','developer','hr-TMAo','HmtC',X'FE623B2CB2C28F88EC26D511923352FF7E9A7E7025825272AB84A9713A5C2EB2',1795745521,NULL,NULL);
INSERT INTO "api_keys" VALUES('key_1Ya3wsCDtz9ivPtrO','revoked','free','hr-bsWf','Iai2',X'F144281BAEF445AAAD439B6691DA0E953227907C91F5B0189A5E70EAAF514C02',1795745521,1795745521,NULL);
CREATE TABLE schema_versions (
            number       INTEGER PRIMARY KEY,
            name         TEXT NOT NULL,
            applied_unix INTEGER NOT NULL
        ) STRICT
        ;
INSERT INTO "schema_versions" VALUES(1,'api_keys',1795745521);
CREATE UNIQUE INDEX api_keys_active_name ON api_keys (name) WHERE revoked_unix IS NULL
            ;
COMMIT;
