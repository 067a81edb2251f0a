-- The delivery funnel per day of sending: sent, acknowledged by WhatsApp, delivered, read, failed.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 30d : sent from then on
-- param to Time = now : sent until then
SELECT toDate(sent_at) AS day, count() AS sent, countIf(server_ack_at IS NOT NULL) AS acknowledged,
    countIf(delivered_at IS NOT NULL) AS delivered, countIf(read_at IS NOT NULL) AS read,
    countIf(failed_at IS NOT NULL) AS failed,
    round(delivered / sent, 4) AS delivered_share, round(if(delivered = 0, 0, read / delivered), 4) AS read_share
FROM
(
    SELECT min(m.sent) AS sent_at, min(m.server_ack) AS server_ack_at, min(m.delivered) AS delivered_at,
        min(m.read) AS read_at, min(m.failed) AS failed_at
    FROM messages AS m
    WHERE ({instance:String} = '' OR instance = {instance:String}) AND month >= toStartOfMonth({from:DateTime64(3)})
    -- By a hash of both, which costs half as much as two texts.
    GROUP BY sipHash128(m.instance, message_id)
)
WHERE sent_at >= {from:DateTime64(3)} AND sent_at < {to:DateTime64(3)}
GROUP BY day
ORDER BY day
