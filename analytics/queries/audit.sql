-- Distinct events against Kafka's offsets, per partition: what the sink took from the log, batch by batch, and the rows that are
-- there. `missing` must be 0. `gaps` lie between noted ranges, `gap_offsets` together and `widest_gap` the widest: markers of
-- transactions and records of aborted ones make small ones, and nothing else should. Rows older than the retention are gone from
-- one side only.
SELECT b._topic AS topic, b._partition AS partition, next_offset, records, poison, duplicates, events,
    ifNull(e.there, 0) AS rows, toInt64(events) - toInt64(rows) AS missing, gaps, gap_offsets, widest_gap
FROM
(
    SELECT _topic, _partition, max(n.last) + 1 AS next_offset, sum(n.records) AS records, sum(n.poison) AS poison,
        sum(n.duplicates) AS duplicates, sum(n.events) AS events,
        countIf(n.gap > 0) AS gaps, sum(n.gap) AS gap_offsets, max(n.gap) AS widest_gap
    FROM
    (
        SELECT _topic, _partition, last, records, poison, duplicates, events,
            row_number() OVER before AS number, max(last) OVER before AS reached,
            if(number > 1 AND first > reached + 1, first - reached - 1, 0) AS gap
        FROM batches FINAL
        WINDOW before AS (PARTITION BY _topic, _partition ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ) AS n
    GROUP BY _topic, _partition
) AS b
LEFT JOIN
(
    SELECT _topic, _partition, count() AS there FROM events FINAL GROUP BY _topic, _partition
) AS e ON b._topic = e._topic AND b._partition = e._partition
ORDER BY topic, partition
