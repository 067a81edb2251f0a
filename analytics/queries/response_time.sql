-- How long contacts wait for an answer, per agent (metadata.agent of the command): from a contact's first unanswered message
-- to the next message out, in direct chats, in seconds (t-digest).
-- param instance String = '' : only this instance; empty = all
-- param from Time = 7d : from then on
-- param to Time = now : until then
SELECT reply.1 AS agent, count() AS answers, arrayMap(s -> round(s, 1), quantilesTDigest(0.5, 0.9, 0.99)(reply.2)) AS seconds
FROM
(
    SELECT
        arraySort(groupArray((ts, direction = 'in', agent))) AS told,
        -- A message whose sender is not that of the one before it: question, answer, question, answer. Copies change nothing.
        arrayFilter((one, before) -> one.2 != before, told, arrayPushFront(arrayPopBack(told.2), 0)) AS turns,
        arrayMap(
            n -> (turns[2 * n].3, toFloat64(dateDiff('millisecond', turns[2 * n - 1].1, turns[2 * n].1)) / 1000),
            range(1, intDiv(length(turns), 2) + 1)
        ) AS replies
    FROM contact_events
    WHERE ({instance:String} = '' OR instance = {instance:String})
        AND ts >= {from:DateTime64(3)} AND ts < {to:DateTime64(3)}
        AND kind = 'message.new' AND chat_kind = 'user' AND direction IN ('in', 'out')
    -- By a hash of both, which costs half as much as two texts.
    GROUP BY sipHash128(instance, contact)
)
ARRAY JOIN replies AS reply
GROUP BY agent
ORDER BY answers DESC
