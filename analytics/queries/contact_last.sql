-- The last events of one contact.
-- param contact String : JID of the contact
-- param instance String = '' : only this instance; empty = all
-- param limit UInt32 = 50 : at most so many
SELECT ts, instance, kind, direction, content_type, chat, message_id
FROM contact_events FINAL
WHERE contact = {contact:String} AND ({instance:String} = '' OR instance = {instance:String})
ORDER BY ts DESC, event_id
LIMIT {limit:UInt32}
