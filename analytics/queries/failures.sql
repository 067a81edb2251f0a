-- What failed, by code: messages WhatsApp refused, commands that ended badly, messages that could not be decrypted.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
SELECT kind, error_code, sum(p.events) AS events, min(hour) AS first_hour, max(hour) AS last_hour
FROM problems_hour AS p
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND hour >= toStartOfHour({from:DateTime64(3)}) AND hour < {to:DateTime64(3)}
    AND NOT startsWith(kind, 'limit.') AND kind != 'result.delayed'
GROUP BY kind, error_code
ORDER BY events DESC, kind
