-- Instances that have events, with the hours of the first and the last.
SELECT instance, min(hour) AS first_hour, max(hour) AS last_hour, sum(v.events) AS events
FROM volume_hour AS v
GROUP BY instance
ORDER BY instance
