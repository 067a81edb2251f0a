-- Seconds from sending to delivery and to reading, per instance: median, 90 % and 99 % (t-digest).
-- param instance String = '' : only this instance; empty = all
-- param from Time = 30d : sent from then on
-- param to Time = now : sent until then
SELECT instance, countIf(delivered_at >= sent_at) AS delivered,
    arrayMap(s -> round(s, 3), quantilesTDigestIf(0.5, 0.9, 0.99)(to_delivery, delivered_at >= sent_at)) AS delivery_seconds,
    countIf(read_at >= sent_at) AS read,
    arrayMap(s -> round(s, 3), quantilesTDigestIf(0.5, 0.9, 0.99)(to_read, read_at >= sent_at)) AS read_seconds
FROM
(
    SELECT any(m.instance) AS instance, min(m.sent) AS sent_at, min(m.delivered) AS delivered_at, min(m.read) AS read_at,
        toFloat64(dateDiff('millisecond', sent_at, delivered_at)) / 1000 AS to_delivery,
        toFloat64(dateDiff('millisecond', sent_at, read_at)) / 1000 AS to_read
    FROM messages AS m
    WHERE ({instance:String} = '' OR m.instance = {instance:String}) AND month >= toStartOfMonth({from:DateTime64(3)})
    -- By a hash of both, which costs half as much as two texts.
    GROUP BY sipHash128(m.instance, message_id)
)
WHERE sent_at >= {from:DateTime64(3)} AND sent_at < {to:DateTime64(3)}
GROUP BY instance
ORDER BY instance
