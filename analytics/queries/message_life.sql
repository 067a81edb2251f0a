-- Everything that is known of one message, oldest first: itself, the results of its command, its statuses.
-- param message String : WhatsApp's id of the message
-- param instance String = '' : its instance; empty = search all
SELECT ts, instance, kind, direction, contact, content_type, command_id, error_code, reason, _topic, _partition, _offset
FROM events
WHERE message_id = {message:String} AND ({instance:String} = '' OR instance = {instance:String})
ORDER BY ts, _topic, _offset
-- Instead of FINAL, which could not use the index of message ids.
LIMIT 1 BY event_id
