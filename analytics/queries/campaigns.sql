-- The funnel of each campaign (metadata.campaign of the command), with the median time to reading.
-- param instance String = '' : only this instance; empty = all
-- param campaign String = '' : only this campaign; empty = all
-- param from Time = 90d : sent from then on
-- param to Time = now : sent until then
SELECT campaign, count() AS sent, countIf(delivered_at IS NOT NULL) AS delivered, countIf(read_at IS NOT NULL) AS read,
    countIf(failed_at IS NOT NULL) AS failed, round(100 * read / sent, 1) AS read_percent,
    round(quantileTDigestIf(0.5)(to_read, read_at >= sent_at), 1) AS median_seconds_to_read
FROM
(
    SELECT max(m.campaign) AS campaign, min(m.sent) AS sent_at, min(m.delivered) AS delivered_at,
        min(m.read) AS read_at, min(m.failed) AS failed_at,
        toFloat64(dateDiff('millisecond', sent_at, read_at)) / 1000 AS to_read
    FROM messages AS m
    WHERE ({instance:String} = '' OR instance = {instance:String}) AND month >= toStartOfMonth({from:DateTime64(3)})
    -- By a hash of both, which costs half as much as two texts.
    GROUP BY sipHash128(m.instance, message_id)
)
WHERE sent_at >= {from:DateTime64(3)} AND sent_at < {to:DateTime64(3)}
    AND campaign != '' AND ({campaign:String} = '' OR campaign = {campaign:String})
GROUP BY campaign
ORDER BY sent DESC, campaign
