-- Milliseconds from WhatsApp's time of a live event to its receipt by the session, per hour (t-digest).
-- param instance String = '' : only this instance; empty = all
-- param from Time = 24h : from then on
-- param to Time = now : until then
SELECT hour, family, sum(l.events) AS events,
    arrayMap(m -> round(m, 1), quantilesTDigestMerge(0.5, 0.9, 0.99)(milliseconds)) AS milliseconds
FROM latency_hour AS l
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
GROUP BY hour, family
ORDER BY hour, family
