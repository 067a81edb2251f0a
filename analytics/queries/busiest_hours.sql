-- Incoming messages by day of the week (1 = Monday) and hour (UTC).
-- param instance String = '' : only this instance; empty = all
-- param from Time = 90d : from then on
-- param to Time = now : until then
SELECT toDayOfWeek(hour) AS weekday, toHour(hour) AS hour_of_day, sum(v.events) AS messages
FROM volume_hour AS v
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
    AND kind = 'message.new' AND direction = 'in'
GROUP BY weekday, hour_of_day
ORDER BY weekday, hour_of_day
