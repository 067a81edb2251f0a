-- What people ask; rows that are not merged yet are merged here.
CREATE VIEW IF NOT EXISTS {view:deliveries} {on_cluster} AS
SELECT instance, message_id, max(m.chat) AS chat, max(m.chat_kind) AS chat_kind, max(m.content_type) AS content_type,
    max(m.command_id) AS command_id, max(m.agent) AS agent, max(m.campaign) AS campaign,
    min(m.sent) AS sent_at, min(m.server_ack) AS server_ack_at, min(m.delivered) AS delivered_at, min(m.read) AS read_at,
    min(m.played) AS played_at, min(m.failed) AS failed_at, max(m.error_code) AS error_code
FROM {read:messages} AS m GROUP BY instance, message_id
COMMENT 'One row per outgoing message: when it was sent, acknowledged, delivered, read, played or failed.';

CREATE VIEW IF NOT EXISTS {view:message_life} {on_cluster} AS
SELECT instance, message_id, ts, kind, direction, contact, from_self, content_type, command_id, error_code, reason, event_id,
    _topic, _partition, _offset
FROM {read:events} FINAL WHERE message_id != ''
COMMENT 'Everything that is known of a message: the message, its statuses, the results of its command.';
