-- How long contacts wait for an answer, per agent (metadata.agent of the command): from a contact's first unanswered message
-- to the next message out, in direct chats, in seconds (t-digest).
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
SELECT agent, count() AS answers, arrayMap(s -> round(s, 1), quantilesTDigest(0.5, 0.9, 0.99)(waited)) AS seconds
FROM
(
    SELECT agent, direction, before, toFloat64(dateDiff('millisecond', asked, ts)) / 1000 AS waited
    FROM
    (
        SELECT agent, direction, ts, before,
            max(if(direction = 'in' AND before != 'in', ts, toDateTime64(0, 3, 'UTC'))) OVER (
                PARTITION BY instance, contact ORDER BY ts, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS asked
        FROM
        (
            SELECT instance, contact, agent, toString(direction) AS direction, ts, event_id,
                lagInFrame(toString(direction)) OVER (
                    PARTITION BY instance, contact ORDER BY ts, event_id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ) AS before
            FROM contact_events FINAL
            WHERE ({instance:String} = '' OR instance = {instance:String})
                AND ts >= {from:DateTime64(3)} AND ts < {to:DateTime64(3)}
                AND kind = 'message.new' AND chat_kind = 'user' AND direction IN ('in', 'out')
        )
    )
)
WHERE direction = 'out' AND before = 'in'
GROUP BY agent
ORDER BY answers DESC
