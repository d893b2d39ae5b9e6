CREATE SCHEMA "odd ""one"" here";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE tickets START 7 INCREMENT 3;
CREATE TABLE items (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL DEFAULT 'ä''"\',
    feeling mood,
    two pair,
    many positive[] DEFAULT '{1}',
    twice int GENERATED ALWAYS AS (length(name) * 2) STORED,
    ticket bigint DEFAULT nextval('tickets'),
    told jsonb,
    at timestamptz DEFAULT now(),
    PRIMARY KEY (id)
);
COMMENT ON TABLE items IS E'two\nlines; and ''quotes''';
ALTER TABLE items ALTER name SET (n_distinct = -0.5);
ALTER TABLE items ALTER name SET STORAGE EXTERNAL, ALTER told SET STATISTICS 7;
DO $$BEGIN
    ALTER TABLE items ALTER told SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server was built without it';
END$$;
CREATE TABLE "odd ""one"" here"."a
b" ("c
d" int);
CREATE UNLOGGED TABLE quick (n int) WITH (fillfactor = 50) TABLESPACE fast;
CREATE TABLE parts (n int, t text) PARTITION BY RANGE (n);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE children (item bigint REFERENCES items ON DELETE CASCADE) INHERITS (quick);
CREATE VIEW happy WITH (security_barrier) AS SELECT id, name FROM items WHERE feeling = 'happy';
CREATE MATERIALIZED VIEW counts AS SELECT feeling, count(*) FROM items GROUP BY 1;
CREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $_$SELECT upper(t) || $q$!; $q$$_$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    NEW.name := NEW.name || '+';
    RETURN NEW;
END $body$;
CREATE TRIGGER stamped BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE INDEX loud ON items (shout(name)) WHERE id > 0;
INSERT INTO items (name, feeling, two, told)
VALUES (E'tab\tnew\nline\\.\n\\.\n', 'happy', '(1,"x,y")', '{"a": "\u00e9"}'),
       ('ALTER TABLE ONLY public.items ALTER COLUMN name SET (pg_attver=1);', 'sad', NULL, NULL),
       (E'ALTER TABLE ONLY x ALTER COLUMN y SET (pg_attver=1);\n$$;--', 'it''s ok', NULL, NULL);
INSERT INTO "odd ""one"" here"."a
b" VALUES (1), (NULL);
INSERT INTO parts VALUES (1, ''), (2, NULL);
INSERT INTO children VALUES (5, 1);
SELECT lo_from_bytea(4711, '\x00ff5c2e');
REFRESH MATERIALIZED VIEW counts;
CREATE ROLE somebody;
CREATE DOMAIN unused AS text COLLATE "C";
GRANT SELECT ON items TO somebody;
ALTER TABLE quick OWNER TO somebody;
