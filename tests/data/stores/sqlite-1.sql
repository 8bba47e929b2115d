-- A store file of schema 1, as the first release with SQLite made it. Not to be changed: a later
-- release opens it.
PRAGMA application_id = 1229934129;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
CREATE TABLE ion_stores (name TEXT PRIMARY KEY NOT NULL, indices TEXT) WITHOUT ROWID;
CREATE TABLE "s_plain" (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE "s_found" (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL);
ALTER TABLE "s_found" ADD COLUMN a_depth REAL;
CREATE INDEX "i_found.depth" ON "s_found" (a_depth, key);
ALTER TABLE "s_found" ADD COLUMN a_kind TEXT;
CREATE INDEX "i_found.kind" ON "s_found" (a_kind, key);
ALTER TABLE "s_found" ADD COLUMN a_good INTEGER;
CREATE INDEX "i_found.good" ON "s_found" (a_good, key);
INSERT INTO ion_stores VALUES ('plain', NULL);
INSERT INTO ion_stores VALUES ('found', '{"depth":"float","good":"bool","kind":"str"}');
INSERT INTO "s_plain" VALUES (X'6B', X'00FF', 4611686018427387905);
INSERT INTO "s_plain" VALUES (X'FF80', X'', 4611686018427387906);
INSERT INTO "s_found" VALUES (X'61', X'31', 4611686018427387907, 1.0, 'ctd', 1);
INSERT INTO "s_found" VALUES (X'62', X'32', 4611686018427387908, NULL, NULL, 0);
