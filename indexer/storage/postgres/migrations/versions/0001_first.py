"""The first tables. Those that depend on the collection's encoder are made with it (``vectors``)."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    "CREATE TABLE manifest (value text NOT NULL)",
    "CREATE TABLE state (id integer PRIMARY KEY CHECK (id = 1), generation bigint NOT NULL, oldest bigint NOT NULL)",
    "INSERT INTO state VALUES (1, 0, 0)",
    'CREATE TABLE notes (name text COLLATE "C" PRIMARY KEY, value text NOT NULL)',
    "CREATE TABLE judgements (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL)",
    'CREATE TABLE roots (path text COLLATE "C" PRIMARY KEY, options text NOT NULL)',
    """CREATE TABLE files (path text COLLATE "C" PRIMARY KEY, root text NOT NULL, size bigint NOT NULL,
       mtime_ns bigint NOT NULL, digest text, status text NOT NULL, reason text, warnings text, ctime_ns bigint,
       inode bigint)""",
    "CREATE SEQUENCE document_ids",
    "CREATE SEQUENCE passage_ids",
    """CREATE TABLE documents (id bigint PRIMARY KEY, path text COLLATE "C" NOT NULL, record text,
       kind text COLLATE "C" NOT NULL, title text, fields text NOT NULL, mtime_ns bigint NOT NULL,
       digest bytea NOT NULL, missing integer NOT NULL, outdated integer NOT NULL DEFAULT 0, born bigint, died bigint,
       position integer, layout text)""",
    "CREATE INDEX documents_path ON documents (path)",
    "CREATE INDEX documents_born ON documents (born)",
    "CREATE INDEX documents_pending ON documents (path) WHERE born IS NULL",
    "CREATE INDEX documents_died ON documents (died) WHERE died IS NOT NULL",
    "CREATE INDEX documents_outdated ON documents (path) WHERE outdated = 1 AND died IS NULL",
    """CREATE INDEX documents_fields ON documents
       USING gin (CAST(replace(fields, '\\u0000', '\\u0001') AS jsonb) jsonb_path_ops)""",
    """CREATE TABLE passages (id bigint PRIMARY KEY,
       document_id bigint NOT NULL REFERENCES documents (id) ON DELETE CASCADE, text text NOT NULL,
       digest bigint NOT NULL, start integer NOT NULL, "end" integer NOT NULL, line_start integer NOT NULL,
       line_end integer NOT NULL, tokens integer NOT NULL, page integer, embedded bigint NOT NULL, lead text,
       heading text)""",
    "CREATE INDEX passages_document ON passages (document_id)",
    "CREATE INDEX passages_digest ON passages (digest)",
    "CREATE INDEX passages_unembedded ON passages (id) WHERE embedded = 0",
    "CREATE INDEX passages_bare ON passages (document_id) WHERE embedded = 0",
    """CREATE TABLE sparse (id bigint PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, terms bytea NOT NULL,
       numbers bigint[] NOT NULL, weights integer[] NOT NULL)""",
    "CREATE INDEX sparse_numbers ON sparse USING gin (numbers)",
    """CREATE TABLE words (id bigint PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, terms tsvector NOT NULL,
       length integer NOT NULL)""",
    "CREATE INDEX words_terms ON words USING gin (terms)",
    """CREATE TABLE frequencies (term text COLLATE "C" PRIMARY KEY, passages bigint NOT NULL)
       WITH (fillfactor = 70)""",
    "CREATE TABLE totals (passages bigint NOT NULL, length bigint NOT NULL)",
    "INSERT INTO totals VALUES (0, 0)",
    "CREATE TABLE claims (digest bigint PRIMARY KEY, writer integer NOT NULL, until timestamptz NOT NULL)",
    # How often a passage holds a phrase, places in its title (A, C) counting twice. The further terms of a text (C, D)
    # count for single words that are looked for anywhere.
    """CREATE FUNCTION occurrences(held tsvector, phrase text[], beginning boolean, anywhere boolean)
       RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
         WITH places AS MATERIALIZED (
           SELECT n.number, p.position, p.weight
           FROM unnest(held) AS u (lexeme, positions, weights)
           JOIN LATERAL unnest(phrase) WITH ORDINALITY AS n (term, number)
             ON u.lexeme COLLATE "C" = n.term
             OR (beginning AND n.number = cardinality(phrase) AND starts_with(u.lexeme, n.term))
           CROSS JOIN LATERAL unnest(u.positions, u.weights) AS p (position, weight)
           WHERE anywhere OR p.weight IN ('A', 'B'))
         SELECT coalesce(sum(CASE WHEN first.weight IN ('A', 'C') THEN 2 ELSE 1 END), 0)::double precision
         FROM places AS first
         WHERE first.number = 1 AND NOT EXISTS (
           SELECT 1 FROM generate_series(2, cardinality(phrase)) AS later (number)
           WHERE NOT EXISTS (SELECT 1 FROM places AS other
             WHERE other.number = later.number AND other.position = first.position + later.number - 1))
       $$""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
