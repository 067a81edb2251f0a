-- Verdicts of limits: commands delayed (with the mean delay) or rejected for want of room, warnings, blocks, bans and time locks.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
SELECT instance, kind, error_code, sum(p.events) AS events, round(sum(p.wait_ms) / events / 1000, 1) AS mean_delay_seconds
FROM problems_hour AS p
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
    AND (startsWith(kind, 'limit.') OR kind = 'result.delayed' OR (kind = 'result.rejected' AND error_code = 'api.queue_full'))
GROUP BY instance, kind, error_code
ORDER BY instance, events DESC
