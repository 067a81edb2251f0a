-- Events of every kind per hour.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 24h : from then on
-- param to Time = now : until then
SELECT hour, family, kind, sum(v.events) AS events, sum(v.bytes) AS bytes
FROM volume_hour AS v
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
GROUP BY hour, family, kind
ORDER BY hour, family, kind
