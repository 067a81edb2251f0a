-- The state of each session, span by span: what it was in before the period goes on into it.
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
-- param limit UInt32 = 10000 : at most so many spans
SELECT instance, state, since, until
FROM
(
    SELECT instance, state, greatest(ts, {from:DateTime64(3)}) AS since, least(next, {to:DateTime64(3)}) AS until
    FROM
    (
        SELECT instance, toString(state) AS state, ts, leadInFrame(ts, 1, {to:DateTime64(3)}) OVER session AS next
        FROM sessions FINAL
        -- What is no state of the connection does not end one.
        WHERE state NOT IN ('gap', 'offline_sync', 'degraded', 'restored', 'unknown')
            AND ({instance:String} = '' OR instance = {instance:String}) AND ts < {to:DateTime64(3)}
        WINDOW session AS (
            PARTITION BY instance ORDER BY ts, session_epoch, seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    )
)
WHERE until > since
ORDER BY instance, since
LIMIT {limit:UInt32}
