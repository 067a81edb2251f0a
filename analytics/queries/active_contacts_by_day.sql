-- Distinct contacts per day that wrote (in) or were written to (out); within 1 %.
-- param instance String = '' : only this instance; empty = all together
-- param from Time = 30d : from that day on
-- param to Time = now : until that day
SELECT day, direction, uniqCombined64Merge(15)(contacts) AS contacts
FROM contacts_day
WHERE ({instance:String} = '' OR instance = {instance:String})
    AND day >= toDate({from:DateTime64(3)}) AND day <= toDate({to:DateTime64(3)})
GROUP BY day, direction
ORDER BY day, direction
