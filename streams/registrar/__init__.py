"""The registrar: the single writer of the compacted control topics.

`decide.py` is the decision on a request, pure; `processor.py` is the edge towards Kafka. Requests come on `wa.control`,
decided instances go to `wa.instances`, every request is answered on `wa.audit`.

Deletion: the instance's record first says `deleted`, so that limiter and connector end what they hold for it; its
tombstone follows when that record is `registrar.deleted_retention_hours` old. The name may be used again at once: the
new instance has another generation, and until the tombstone its version goes on from the old one's.

A request id is remembered per instance: asked again, it gets the same answer; with another kind of request it is an
`api.idempotency_mismatch`.
"""
