-- Tables for queries that the raw table's order does not serve. Copies of an event change nothing in them.
-- A message's rows are merged by minimum and maximum.
CREATE TABLE IF NOT EXISTS {table:messages} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    month Date COMMENT 'Month of the fact; one message may have rows in two.',
    message_id String CODEC(ZSTD(1)) COMMENT 'WhatsApp''s id of the message.',
    chat SimpleAggregateFunction(max, String) COMMENT 'JID of the chat.',
    chat_kind SimpleAggregateFunction(max, String) COMMENT 'user, group and so on.',
    content_type SimpleAggregateFunction(max, String) COMMENT 'text, image and so on.',
    command_id SimpleAggregateFunction(max, String) COMMENT 'The command that sent it.',
    agent SimpleAggregateFunction(max, String) COMMENT 'metadata[''agent''] of the command.',
    campaign SimpleAggregateFunction(max, String) COMMENT 'metadata[''campaign''] of the command.',
    sent SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'When it was sent.',
    server_ack SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'First acknowledged by WhatsApp.',
    delivered SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'First delivered to somebody.',
    read SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'First read by somebody.',
    played SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'First played by somebody.',
    failed SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'First failure at somebody.',
    error_code SimpleAggregateFunction(max, String) COMMENT 'WhatsApp''s code of a failure.'
)
ENGINE = {engine:AggregatingMergeTree}
PARTITION BY toYYYYMM(month)
ORDER BY (instance, month, message_id)
SETTINGS {window}
COMMENT 'Outgoing messages and how far they came: the delivery funnel.';

{distributed:messages:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:messages_mv} {on_cluster} TO {table:messages} AS
SELECT
    e.instance AS instance, toStartOfMonth(toDate(e.ts)) AS month, e.message_id AS message_id,
    max(e.chat) AS chat, max(toString(e.chat_kind)) AS chat_kind,
    maxIf(toString(e.content_type), e.family = 'message') AS content_type,
    max(e.command_id) AS command_id, max(toString(e.agent)) AS agent, max(toString(e.campaign)) AS campaign,
    minOrNullIf(e.ts, e.kind IN ('message.new', 'result.sent')) AS sent,
    minOrNullIf(e.ts, e.kind = 'status.server_ack') AS server_ack,
    minOrNullIf(e.ts, e.kind IN ('status.delivered', 'status.read', 'status.played')) AS delivered,
    minOrNullIf(e.ts, e.kind IN ('status.read', 'status.played')) AS read,
    minOrNullIf(e.ts, e.kind = 'status.played') AS played,
    minOrNullIf(e.ts, e.kind = 'status.failed') AS failed,
    maxIf(toString(e.error_code), e.kind = 'status.failed') AS error_code
FROM {table:events} AS e
WHERE e.direction = 'out' AND e.message_id != '' AND NOT e.from_self
    AND (e.kind = 'message.new' OR e.family = 'status' OR (e.kind = 'result.sent' AND e.content_type = 'send'))
GROUP BY instance, month, message_id;

CREATE TABLE IF NOT EXISTS {table:contact_events} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    contact String CODEC(ZSTD(1)) COMMENT 'JID of the other person.',
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When it happened.',
    event_id UUID COMMENT 'The event''s own id.',
    kind LowCardinality(String) COMMENT 'What happened.',
    origin LowCardinality(String) COMMENT 'live, offline or history.',
    direction LowCardinality(String) COMMENT 'in or out.',
    chat_kind LowCardinality(String) COMMENT 'user, group and so on.',
    content_type LowCardinality(String) COMMENT 'text, image and so on.',
    chat String CODEC(ZSTD(1)) COMMENT 'JID of the chat.',
    message_id String CODEC(ZSTD(1)) COMMENT 'WhatsApp''s id of the message.',
    agent LowCardinality(String) COMMENT 'metadata[''agent''] of the command.'
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(ts)
ORDER BY (instance, contact, ts, event_id)
SETTINGS {window}
COMMENT 'Events by the person they are about.';

{distributed:contact_events:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:contact_events_mv} {on_cluster} TO {table:contact_events} AS
SELECT instance, contact, ts, event_id, kind, origin, direction, chat_kind, content_type, chat, message_id, agent
FROM {table:events} WHERE contact != '' AND NOT from_self;

CREATE TABLE IF NOT EXISTS {table:sessions} {on_cluster}
(
    instance LowCardinality(String) COMMENT 'Instance id.',
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When it happened.',
    session_epoch Int64 CODEC(ZSTD(1)) COMMENT 'Load number of the session.',
    seq Int64 CODEC(ZSTD(1)) COMMENT 'Number of the event within the epoch.',
    event_id UUID COMMENT 'The event''s own id.',
    state LowCardinality(String) COMMENT 'The state, or what happened: online, offline, gap and so on.',
    error_code LowCardinality(String) COMMENT 'WhatsApp''s code.',
    reason LowCardinality(String) COMMENT 'Text for people.'
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (instance, ts, session_epoch, seq, event_id)
SETTINGS {window}
COMMENT 'Changes of state of sessions.';

{distributed:sessions:cityHash64(instance)}

CREATE MATERIALIZED VIEW IF NOT EXISTS {view:sessions_mv} {on_cluster} TO {table:sessions} AS
SELECT instance, ts, session_epoch, seq, event_id, substring(kind, 9) AS state, error_code, reason
FROM {table:events} WHERE family = 'session';
