-- Share of the time each session was online, and how often it went away. Time before its first known state does not count.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
SELECT instance, round(100 * sumIf(seconds, state = 'online') / sum(seconds), 3) AS online_percent,
    round(sumIf(seconds, state = 'online')) AS online_seconds, round(sum(seconds)) AS known_seconds,
    countIf(state != 'online' AND previous = 'online') AS drops
FROM
(
    SELECT instance, state, previous,
        toFloat64(greatest(0, dateDiff('millisecond', greatest(ts, {from:DateTime64(3)}), least(next, {to:DateTime64(3)})))) / 1000
            AS seconds
    FROM
    (
        SELECT instance, toString(state) AS state, ts,
            leadInFrame(ts, 1, {to:DateTime64(3)}) OVER session AS next,
            lagInFrame(toString(state)) OVER session AS previous
        FROM sessions FINAL
        -- What is no state of the connection does not end one.
        WHERE state NOT IN ('gap', 'offline_sync', 'degraded', 'restored', 'unknown')
            AND ({instance:String} = '' OR instance = {instance:String}) AND ts < {to:DateTime64(3)}
        WINDOW session AS (
            PARTITION BY instance ORDER BY ts, session_epoch, seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    )
)
GROUP BY instance
HAVING known_seconds > 0
ORDER BY online_percent, instance
