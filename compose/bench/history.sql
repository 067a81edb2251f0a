-- Weeks of a business's events, made by ClickHouse itself. Command number n and the message of a contact that goes with it are
-- told by hashes of n; each has its results, receipts and so on as rows. The days are full of people's hours.
INSERT INTO events
(
    event_id, ts, received_at, instance, generation, family, kind, origin, simulated, session_epoch, seq, direction, chat_kind,
    content_type, chat, contact, message_id, from_self, command_id, agent, campaign, metadata, error_code, reason, final, revision,
    until, size_bytes, payload, _topic, _partition, _offset
)
WITH
    -- Hashes as numbers from 0 to 1.
    sipHash64(n, 1) / pow(2, 64) AS u1, sipHash64(n, 2) / pow(2, 64) AS u2, sipHash64(n, 3) / pow(2, 64) AS u3,
    sipHash64(n, 4) / pow(2, 64) AS u4, sipHash64(n, 5) / pow(2, 64) AS u5, sipHash64(n, 6) / pow(2, 64) AS u6,
    sipHash64(n, 7) / pow(2, 64) AS u7, sipHash64(n, 8) / pow(2, 64) AS u8,
    (sipHash64(n, 17) / pow(2, 64) + sipHash64(n, 18) / pow(2, 64)) / 2 AS share_of_day,
    concat('shop-', toString(toUInt32(floor(u1 * u1 * {instances:UInt32})))) AS shop,
    concat('4917', leftPad(toString(toUInt32(floor(pow(u2, 3) * {contacts:UInt32}))), 8, '0'), '@s.whatsapp.net') AS person,
    u3 < 0.15 AS in_group,
    if(in_group, concat('12036304', leftPad(toString(sipHash64(n, 9) % 40), 10, '0'), '@g.us'), person) AS room,
    concat('3EB0', substring(hex(sipHash128(n, 10)), 1, 18)) AS sent_id,
    concat('3A', substring(hex(sipHash128(n, 11)), 1, 18)) AS came_id,
    lower(hex(sipHash128(n, 12))) AS command,
    concat('agent-', toString(toUInt32(floor(u4 * u4 * 30)))) AS who,
    if(u5 < 0.35, concat('campaign-', toString(sipHash64(n, 13) % 12)), '') AS why,
    ['text', 'text', 'text', 'text', 'text', 'text', 'text', 'text', 'image', 'voice', 'document'][sipHash64(n, 14) % 11 + 1] AS form,
    u6 < 0.04 AS fails,
    toUInt32(700 + exp(u7 * 9)) AS to_delivery,
    to_delivery + toUInt32(2000 + exp(u8 * 15)) AS to_reading,
    {start_ms:Int64} + toInt64(intDiv(n * {days:UInt32}, {commands:UInt64})) * 86400000 + toInt64(share_of_day * 86400000) AS at,
    arrayFilter(fact -> fact.8, [
        -- place, milliseconds after the command, topic, kind, ours, error code, revision, whether it happened
        (1, toInt64(-20), 'results', 'result.delayed', 1, '', 1, u8 < 0.1),
        (2, toInt64(0), 'results', 'result.queued', 1, '', 2, 1),
        (3, toInt64(15), 'results', 'result.sending', 1, '', 3, 1),
        (4, toInt64(140), 'results', 'result.sent', 1, '', 4, NOT (fails AND u7 < 0.4)),
        (5, toInt64(140), 'results', 'result.failed', 1, 'wa.undeliverable', 4, fails AND u7 < 0.4),
        (6, toInt64(140), 'events.message', 'message.new', 1, '', 0, NOT (fails AND u7 < 0.4)),
        (7, toInt64(200), 'events.status', 'status.server_ack', 1, '', 0, NOT fails),
        (8, toInt64(to_delivery), 'events.status', 'status.delivered', 1, '', 0, NOT fails AND u3 < 0.95),
        (9, toInt64(to_reading), 'events.status', 'status.read', 1, '', 0, NOT fails AND u3 < 0.7),
        (10, toInt64(900), 'events.status', 'status.failed', 1, ['131026', '470', '131049'][n % 3 + 1], 0, fails AND u7 >= 0.4),
        (11, toInt64(u1 * 600000), 'events.message', 'message.new', 0, '', 0, u4 < 0.95),
        (12, toInt64(u1 * 600000) - 3000, 'events.chat', 'chat.typing', 0, '', 0, u4 < 0.2),
        (13, toInt64(u1 * 600000) + 20000, 'events.status', 'status.read', 0, '', 0, u4 < 0.4),
        (14, toInt64(u1 * 600000) + 60000, 'events.contact', 'contact.presence', 0, '', 0, u4 < 0.05),
        (15, toInt64(0), 'events.session', 'session.offline', 0, '428', 0, u5 < 0.01),
        (16, toInt64(4000), 'events.session', 'session.connecting', 0, '', 0, u5 < 0.01),
        (17, toInt64(9000 + exp(u8 * 12)), 'events.session', 'session.online', 0, '', 0, u5 < 0.01),
        (18, toInt64(0), 'events.limit', 'limit.block', 0, '463', 0, u6 > 0.992),
        (19, toInt64(1800000), 'events.limit', 'limit.lifted', 0, '', 0, u6 > 0.992)
    ]) AS facts
SELECT
    reinterpretAsUUID(sipHash128(n, fact.1)) AS event_id,
    fromUnixTimestamp64Milli(at + fact.2, 'UTC') AS ts,
    if(fact.3 = 'results', ts, ts + toIntervalMillisecond(toUInt32(1 + exp(u5 * 7)))) AS received_at,
    shop AS instance,
    1750000000000 AS generation,
    replaceOne(replaceOne(fact.3, 'events.', ''), 'results', 'result') AS family,
    fact.4 AS kind,
    if(family = 'result', '', 'live') AS origin,
    0 AS simulated,
    if(family = 'result', 0, 1) AS session_epoch,
    if(family = 'result', 0, n * 20 + fact.1) AS seq,
    multiIf(family NOT IN ('message', 'status', 'result'), '', fact.5, 'out', 'in') AS direction,
    multiIf(family != 'message', '', in_group, 'group', 'user') AS chat_kind,
    multiIf(family = 'message', form, family = 'result', 'send', '') AS content_type,
    if(family IN ('session', 'limit', 'contact'), '', room) AS chat,
    if(family IN ('session', 'limit', 'result'), '', person) AS contact,
    multiIf(family NOT IN ('message', 'status', 'result') OR fact.7 IN (1, 2), '', fact.5, sent_id, came_id) AS message_id,
    fact.1 = 13 AS from_self,
    if(fact.5, command, '') AS command_id,
    if(fact.5, who, '') AS agent,
    if(fact.5, why, '') AS campaign,
    if(fact.5, map('agent', who, 'ticket', toString(n % 100000)), map()) AS metadata,
    fact.6 AS error_code,
    if(fact.6 = '428', 'connection closed', '') AS reason,
    fact.4 IN ('result.sent', 'result.failed') AS final,
    fact.7 AS revision,
    multiIf(fact.4 = 'result.delayed', ts + toIntervalMillisecond(toUInt32(u1 * 20000)), fact.4 = 'limit.block', ts + toIntervalMinute(30), NULL)
        AS until,
    200 + sipHash64(n, 15) % 300 AS size_bytes,
    concat(
        '{"envelope":{"event_id":"', toString(event_id), '","instance_id":"', shop, '","generation":1750000000000,"tenant":null,"occurred_at":',
        toString(at + fact.2), ',"origin":"live","session_epoch":1,"seq":', toString(seq), ',"simulated":false},"kind":"', fact.4,
        '","chat":{"jid":"', chat, '","lid":null,"pn":null,"bsuid":null,"username":null},"key":{"id":"', message_id,
        '","server_id":null},"metadata":{"agent":"', agent, '"},"content":{"type":"', content_type, '","text":"',
        if(family = 'message', repeat('lorem ipsum dolor sit amet ', sipHash64(n, 16) % 6), ''), '","media":null,"raw":null}}'
    ) AS payload,
    fact.3 AS _topic,
    cityHash64(shop) % 8 AS _partition,
    n * 20 + fact.1 AS _offset
FROM (SELECT number AS n FROM numbers({first:UInt64}, {count:UInt64}))
ARRAY JOIN facts AS fact
SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0
