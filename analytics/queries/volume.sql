-- Events and bytes per day, direction and type of content.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 30d : from then on
-- param to Time = now : until then
SELECT toDate(hour) AS day, kind, direction, content_type, sum(v.events) AS events, sum(v.bytes) AS bytes
FROM volume_hour AS v
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
    AND family = 'message'
GROUP BY day, kind, direction, content_type
ORDER BY day, events DESC
