-- Sums, digests and counts per hour or day. They are fed by the sink's tokened inserts alone; a copy of an event that came
-- in another batch is left out by the sink, because a sum cannot be taken back.
CREATE TABLE IF NOT EXISTS {table:volume_hour} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour.',
    family LowCardinality(String) COMMENT 'message, status and so on.',
    kind LowCardinality(String) COMMENT 'What happened.',
    direction LowCardinality(String) COMMENT 'in or out.',
    chat_kind LowCardinality(String) COMMENT 'user, group and so on.',
    content_type LowCardinality(String) COMMENT 'text, image and so on.',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of events.',
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'Bytes of their records in Kafka.'
)
ENGINE = {engine:AggregatingMergeTree}
PARTITION BY toYYYYMM(hour)
ORDER BY (instance, hour, family, kind, direction, chat_kind, content_type)
SETTINGS {window}
COMMENT 'Events per hour.';

{distributed:volume_hour:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:volume_hour_mv} {on_cluster} TO {table:volume_hour} AS
SELECT instance, toStartOfHour(ts) AS hour, family, kind, direction, chat_kind, content_type,
    count() AS events, sum(size_bytes) AS bytes
FROM {table:events} GROUP BY instance, hour, family, kind, direction, chat_kind, content_type;

CREATE TABLE IF NOT EXISTS {table:latency_hour} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour of receipt.',
    family LowCardinality(String) COMMENT 'message or status.',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of live events.',
    milliseconds AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), Float64) COMMENT 'Digest of received_at - ts.'
)
ENGINE = {engine:AggregatingMergeTree}
PARTITION BY toYYYYMM(hour)
ORDER BY (instance, hour, family)
SETTINGS {window}
COMMENT 'How long live events took from WhatsApp''s time to the session.';

{distributed:latency_hour:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:latency_hour_mv} {on_cluster} TO {table:latency_hour} AS
SELECT instance, toStartOfHour(received_at) AS hour, family, count() AS events,
    quantilesTDigestState(0.5, 0.9, 0.99)(toFloat64(greatest(0, dateDiff('millisecond', ts, received_at)))) AS milliseconds
FROM {table:events} WHERE origin = 'live' AND family IN ('message', 'status') GROUP BY instance, hour, family;

CREATE TABLE IF NOT EXISTS {table:contacts_day} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    day Date COMMENT 'Day.',
    direction LowCardinality(String) COMMENT 'in: the contact wrote; out: the account wrote.',
    contacts AggregateFunction(uniqCombined64(15), String) COMMENT 'Distinct contacts, mergeable.'
)
ENGINE = {engine:AggregatingMergeTree}
PARTITION BY toYear(day)
ORDER BY (instance, day, direction)
SETTINGS {window}
COMMENT 'Active contacts per day.';

{distributed:contacts_day:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:contacts_day_mv} {on_cluster} TO {table:contacts_day} AS
SELECT instance, toDate(ts) AS day, direction, uniqCombined64State(15)(contact) AS contacts
FROM {table:events} WHERE family = 'message' AND contact != '' GROUP BY instance, day, direction;

CREATE TABLE IF NOT EXISTS {table:problems_hour} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour.',
    kind LowCardinality(String) COMMENT 'A failure or a limit''s verdict.',
    error_code LowCardinality(String) COMMENT 'Why.',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How often.',
    wait_ms SimpleAggregateFunction(sum, Int64) COMMENT 'Sum of the delays the limiter imposed.'
)
ENGINE = {engine:AggregatingMergeTree}
PARTITION BY toYYYYMM(hour)
ORDER BY (instance, hour, kind, error_code)
SETTINGS {window}
COMMENT 'Failures and verdicts of limits per hour.';

{distributed:problems_hour:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:problems_hour_mv} {on_cluster} TO {table:problems_hour} AS
SELECT instance, toStartOfHour(ts) AS hour, kind, error_code, count() AS events,
    sumIf(greatest(0, dateDiff('millisecond', ts, ifNull(until, ts))), kind = 'result.delayed') AS wait_ms
FROM {table:events}
WHERE family = 'limit' OR kind IN ('status.failed', 'message.undecryptable', 'result.delayed', 'result.failed',
    'result.rejected', 'result.expired', 'result.unknown')
GROUP BY instance, hour, kind, error_code;
