-- Every event once, and what the sink notes about each batch.
-- The sorting key is the event's own identity: its own time and id, not its place in Kafka, so that copies of one event meet.
-- Columns that begin with an underscore say where in Kafka the row stands.
CREATE TABLE IF NOT EXISTS {table:events} {on_cluster}
(
    event_id UUID COMMENT 'The event''s own id; of a result, made of result_id, revision and state.',
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When it happened, as WhatsApp says.',
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When the session received it; retention counts from here.',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When the row was inserted.',
    instance LowCardinality(String) COMMENT 'Instance id.',
    generation Int64 CODEC(ZSTD(1)) COMMENT 'Creation time of the instance in epoch ms.',
    tenant LowCardinality(String) COMMENT 'Tenant of the instance.',
    family LowCardinality(String) COMMENT 'message, status, session, chat, contact, limit or result: the topic it came from.',
    kind LowCardinality(String) COMMENT 'What happened: message.new, status.delivered, session.online, limit.block, result.sent and so on.',
    origin LowCardinality(String) COMMENT 'live, offline or history.',
    simulated Bool COMMENT 'The instance talks to the simulator.',
    session_epoch Int64 CODEC(ZSTD(1)) COMMENT 'Load number of the session; 0 where there is none.',
    seq Int64 CODEC(ZSTD(1)) COMMENT 'Number of the event within the epoch; 0 where there is none.',
    direction LowCardinality(String) COMMENT 'in, out or unknown; of a status or a result, that of its message.',
    chat_kind LowCardinality(String) COMMENT 'user, group, broadcast, status, newsletter or bot; empty where it is not told.',
    content_type LowCardinality(String) COMMENT 'text, image and so on; of a result, the type of its command.',
    chat String CODEC(ZSTD(1)) COMMENT 'JID of the chat.',
    contact String CODEC(ZSTD(1)) COMMENT 'JID of the other person: who wrote, received, read or did it.',
    message_id String CODEC(ZSTD(1)) COMMENT 'WhatsApp''s id of the message.',
    from_self Bool COMMENT 'A receipt of the account''s own devices.',
    command_id String CODEC(ZSTD(1)) COMMENT 'The command that caused it.',
    agent LowCardinality(String) COMMENT 'metadata[''agent''] of the command.',
    campaign LowCardinality(String) COMMENT 'metadata[''campaign''] of the command.',
    metadata Map(LowCardinality(String), String) CODEC(ZSTD(1)) COMMENT 'The command''s own metadata.',
    error_code LowCardinality(String) COMMENT 'Catalogue code of a result, WhatsApp''s number of a failed message, session or limit.',
    reason LowCardinality(String) COMMENT 'Text of the error or of the session''s change of state, at most 200 characters.',
    final Bool COMMENT 'A result that is the last word.',
    revision Int32 CODEC(T64, ZSTD(1)) COMMENT 'Revision of a result.',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'End of a ban, a lock or a delay.',
    size_bytes UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Size of the record''s value in Kafka.',
    payload String CODEC(ZSTD(1)) COMMENT 'The whole record as JSON; bytes are left out, they stand in Kafka.',
    _topic LowCardinality(String) COMMENT 'Topic without prefix.',
    _partition UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Partition of the topic.',
    _offset UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Offset in the partition.',
    INDEX ix_event event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX ix_message message_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX ix_contact contact TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(ts)
PRIMARY KEY (instance, kind, toStartOfHour(ts))
ORDER BY (instance, kind, toStartOfHour(ts), ts, event_id)
SETTINGS {window}
COMMENT 'Every event, once: the raw table.';

{distributed:events:cityHash64(instance)}

-- One row per inserted range of a partition: what the audit compares with the rows that are there.
CREATE TABLE IF NOT EXISTS {table:batches} {on_cluster}
(
    _topic LowCardinality(String) COMMENT 'Topic without prefix.',
    _partition UInt32 COMMENT 'Partition of the topic.',
    first UInt64 COMMENT 'Offset of the first record.',
    last UInt64 COMMENT 'Offset of the last record.',
    records UInt32 COMMENT 'Records in that range.',
    events UInt32 COMMENT 'Rows made of them.',
    duplicates UInt32 COMMENT 'Records whose event was there already.',
    poison UInt32 COMMENT 'Records sent to the dead letters.',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When the row was inserted.'
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (_topic, _partition, first, last)
COMMENT 'What the sink took from Kafka, batch by batch.';

{distributed:batches:cityHash64(_topic, _partition)}
