-- Distinct events against Kafka's offsets, per partition: what the sink took from the log, batch by batch, and the rows that are
-- there. `missing` must be 0. Rows older than the retention are gone from one side only.
SELECT b._topic AS topic, b._partition AS partition, next_offset, records, poison, duplicates, events,
    ifNull(e.there, 0) AS rows, toInt64(events) - toInt64(rows) AS missing
FROM
(
    SELECT _topic, _partition, max(n.last) + 1 AS next_offset, sum(n.records) AS records, sum(n.poison) AS poison,
        sum(n.duplicates) AS duplicates, sum(n.events) AS events
    FROM batches AS n FINAL
    GROUP BY _topic, _partition
) AS b
LEFT JOIN
(
    SELECT _topic, _partition, count() AS there FROM events FINAL GROUP BY _topic, _partition
) AS e ON b._topic = e._topic AND b._partition = e._partition
ORDER BY topic, partition
