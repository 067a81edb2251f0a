from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIVE: _ClassVar[Origin]
    OFFLINE: _ClassVar[Origin]
    HISTORY: _ClassVar[Origin]
LIVE: Origin
OFFLINE: Origin
HISTORY: Origin

class ToHost(_message.Message):
    __slots__ = ("hello", "open_session", "restore_items", "close_session", "pair", "logout", "send", "durable", "credit", "crash_at", "mark", "lease")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSION_FIELD_NUMBER: _ClassVar[int]
    RESTORE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    CLOSE_SESSION_FIELD_NUMBER: _ClassVar[int]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    LOGOUT_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    CRASH_AT_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    open_session: OpenSession
    restore_items: RestoreItems
    close_session: CloseSession
    pair: Pair
    logout: Logout
    send: Send
    durable: Durable
    credit: Credit
    crash_at: CrashAt
    mark: Mark
    lease: Lease
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., open_session: _Optional[_Union[OpenSession, _Mapping]] = ..., restore_items: _Optional[_Union[RestoreItems, _Mapping]] = ..., close_session: _Optional[_Union[CloseSession, _Mapping]] = ..., pair: _Optional[_Union[Pair, _Mapping]] = ..., logout: _Optional[_Union[Logout, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., durable: _Optional[_Union[Durable, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., crash_at: _Optional[_Union[CrashAt, _Mapping]] = ..., mark: _Optional[_Union[Mark, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_version", "credit_bytes", "max_unacked_nodes", "handler_limit_ms", "parallel_starts", "ack_timeout_ms", "simulator", "verbose", "supervision", "phone_code_ms", "leases")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREDIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNACKED_NODES_FIELD_NUMBER: _ClassVar[int]
    HANDLER_LIMIT_MS_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_STARTS_FIELD_NUMBER: _ClassVar[int]
    ACK_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SIMULATOR_FIELD_NUMBER: _ClassVar[int]
    VERBOSE_FIELD_NUMBER: _ClassVar[int]
    SUPERVISION_FIELD_NUMBER: _ClassVar[int]
    PHONE_CODE_MS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    credit_bytes: int
    max_unacked_nodes: int
    handler_limit_ms: int
    parallel_starts: int
    ack_timeout_ms: int
    simulator: Simulator
    verbose: bool
    supervision: Supervision
    phone_code_ms: int
    leases: bool
    def __init__(self, protocol_version: _Optional[int] = ..., credit_bytes: _Optional[int] = ..., max_unacked_nodes: _Optional[int] = ..., handler_limit_ms: _Optional[int] = ..., parallel_starts: _Optional[int] = ..., ack_timeout_ms: _Optional[int] = ..., simulator: _Optional[_Union[Simulator, _Mapping]] = ..., verbose: _Optional[bool] = ..., supervision: _Optional[_Union[Supervision, _Mapping]] = ..., phone_code_ms: _Optional[int] = ..., leases: _Optional[bool] = ...) -> None: ...

class Supervision(_message.Message):
    __slots__ = ("keepalive_min_ms", "keepalive_max_ms", "keepalive_answer_ms", "silence_ms", "login_ms", "pair_watchdog_ms", "reconnect_first_ms", "reconnect_most_ms")
    KEEPALIVE_MIN_MS_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_ANSWER_MS_FIELD_NUMBER: _ClassVar[int]
    SILENCE_MS_FIELD_NUMBER: _ClassVar[int]
    LOGIN_MS_FIELD_NUMBER: _ClassVar[int]
    PAIR_WATCHDOG_MS_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_MOST_MS_FIELD_NUMBER: _ClassVar[int]
    keepalive_min_ms: int
    keepalive_max_ms: int
    keepalive_answer_ms: int
    silence_ms: int
    login_ms: int
    pair_watchdog_ms: int
    reconnect_first_ms: int
    reconnect_most_ms: int
    def __init__(self, keepalive_min_ms: _Optional[int] = ..., keepalive_max_ms: _Optional[int] = ..., keepalive_answer_ms: _Optional[int] = ..., silence_ms: _Optional[int] = ..., login_ms: _Optional[int] = ..., pair_watchdog_ms: _Optional[int] = ..., reconnect_first_ms: _Optional[int] = ..., reconnect_most_ms: _Optional[int] = ...) -> None: ...

class Simulator(_message.Message):
    __slots__ = ("address", "root_public_key", "tls_ca_pem")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROOT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_PEM_FIELD_NUMBER: _ClassVar[int]
    address: str
    root_public_key: bytes
    tls_ca_pem: str
    def __init__(self, address: _Optional[str] = ..., root_public_key: _Optional[bytes] = ..., tls_ca_pem: _Optional[str] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("session", "instance_id", "simulated", "settings")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    session: int
    instance_id: str
    simulated: bool
    settings: SessionSettings
    def __init__(self, session: _Optional[int] = ..., instance_id: _Optional[str] = ..., simulated: _Optional[bool] = ..., settings: _Optional[_Union[SessionSettings, _Mapping]] = ...) -> None: ...

class SessionSettings(_message.Message):
    __slots__ = ("active_receipts", "proxy", "device_name", "keep_raw", "push_name")
    ACTIVE_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    KEEP_RAW_FIELD_NUMBER: _ClassVar[int]
    PUSH_NAME_FIELD_NUMBER: _ClassVar[int]
    active_receipts: bool
    proxy: str
    device_name: str
    keep_raw: bool
    push_name: str
    def __init__(self, active_receipts: _Optional[bool] = ..., proxy: _Optional[str] = ..., device_name: _Optional[str] = ..., keep_raw: _Optional[bool] = ..., push_name: _Optional[str] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class RestoreItems(_message.Message):
    __slots__ = ("session", "items", "last")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    session: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    last: bool
    def __init__(self, session: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., last: _Optional[bool] = ...) -> None: ...

class CloseSession(_message.Message):
    __slots__ = ("session", "reason")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session: int
    reason: str
    def __init__(self, session: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ("session", "command_id", "phone")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PHONE_FIELD_NUMBER: _ClassVar[int]
    session: int
    command_id: str
    phone: str
    def __init__(self, session: _Optional[int] = ..., command_id: _Optional[str] = ..., phone: _Optional[str] = ...) -> None: ...

class Logout(_message.Message):
    __slots__ = ("session", "command_id")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    session: int
    command_id: str
    def __init__(self, session: _Optional[int] = ..., command_id: _Optional[str] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("session", "command_id", "message_id", "to", "content", "resume")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    session: int
    command_id: str
    message_id: str
    to: str
    content: OutgoingContent
    resume: bool
    def __init__(self, session: _Optional[int] = ..., command_id: _Optional[str] = ..., message_id: _Optional[str] = ..., to: _Optional[str] = ..., content: _Optional[_Union[OutgoingContent, _Mapping]] = ..., resume: _Optional[bool] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("session", "command_id", "kind", "chat", "sender", "message_ids")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    session: int
    command_id: str
    kind: str
    chat: str
    sender: str
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: _Optional[int] = ..., command_id: _Optional[str] = ..., kind: _Optional[str] = ..., chat: _Optional[str] = ..., sender: _Optional[str] = ..., message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("session", "position")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session: int
    position: int
    def __init__(self, session: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class Durable(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("until_ms",)
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    until_ms: int
    def __init__(self, until_ms: _Optional[int] = ...) -> None: ...

class CrashAt(_message.Message):
    __slots__ = ("point", "passage")
    POINT_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    point: str
    passage: int
    def __init__(self, point: _Optional[str] = ..., passage: _Optional[int] = ...) -> None: ...

class FromHost(_message.Message):
    __slots__ = ("hello_reply", "entry", "closed", "stats")
    HELLO_REPLY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    hello_reply: HelloReply
    entry: JournalEntry
    closed: SessionClosed
    stats: HostStats
    def __init__(self, hello_reply: _Optional[_Union[HelloReply, _Mapping]] = ..., entry: _Optional[_Union[JournalEntry, _Mapping]] = ..., closed: _Optional[_Union[SessionClosed, _Mapping]] = ..., stats: _Optional[_Union[HostStats, _Mapping]] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol_version", "host_version", "library_version", "error")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOST_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    host_version: str
    library_version: str
    error: str
    def __init__(self, protocol_version: _Optional[int] = ..., host_version: _Optional[str] = ..., library_version: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ItemChange(_message.Message):
    __slots__ = ("name", "value", "tombstone")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    tombstone: bool
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ..., tombstone: _Optional[bool] = ...) -> None: ...

class JournalEntry(_message.Message):
    __slots__ = ("session", "position", "changes", "events")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    session: int
    position: int
    changes: _containers.RepeatedCompositeFieldContainer[ItemChange]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, session: _Optional[int] = ..., position: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ItemChange, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class SessionClosed(_message.Message):
    __slots__ = ("session", "reason", "may_reopen")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MAY_REOPEN_FIELD_NUMBER: _ClassVar[int]
    session: int
    reason: str
    may_reopen: bool
    def __init__(self, session: _Optional[int] = ..., reason: _Optional[str] = ..., may_reopen: _Optional[bool] = ...) -> None: ...

class HostStats(_message.Message):
    __slots__ = ("heap_bytes", "goroutines", "sessions", "online", "frames_held", "undecryptable", "journal_entries", "cpu_ms", "rss_bytes")
    HEAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    GOROUTINES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_HELD_FIELD_NUMBER: _ClassVar[int]
    UNDECRYPTABLE_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CPU_MS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    heap_bytes: int
    goroutines: int
    sessions: int
    online: int
    frames_held: int
    undecryptable: int
    journal_entries: int
    cpu_ms: int
    rss_bytes: int
    def __init__(self, heap_bytes: _Optional[int] = ..., goroutines: _Optional[int] = ..., sessions: _Optional[int] = ..., online: _Optional[int] = ..., frames_held: _Optional[int] = ..., undecryptable: _Optional[int] = ..., journal_entries: _Optional[int] = ..., cpu_ms: _Optional[int] = ..., rss_bytes: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("received_at_ms", "origin", "message", "undecryptable", "receipt", "state", "pairing_code", "send_started", "send_finished", "identity", "other", "chat", "presence", "limit")
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UNDECRYPTABLE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAIRING_CODE_FIELD_NUMBER: _ClassVar[int]
    SEND_STARTED_FIELD_NUMBER: _ClassVar[int]
    SEND_FINISHED_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    received_at_ms: int
    origin: Origin
    message: IncomingMessage
    undecryptable: Undecryptable
    receipt: Receipt
    state: SessionState
    pairing_code: PairingCode
    send_started: SendStarted
    send_finished: SendFinished
    identity: IdentityMapping
    other: OtherEvent
    chat: ChatEvent
    presence: ContactPresence
    limit: LimitNotice
    def __init__(self, received_at_ms: _Optional[int] = ..., origin: _Optional[_Union[Origin, str]] = ..., message: _Optional[_Union[IncomingMessage, _Mapping]] = ..., undecryptable: _Optional[_Union[Undecryptable, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., state: _Optional[_Union[SessionState, _Mapping]] = ..., pairing_code: _Optional[_Union[PairingCode, _Mapping]] = ..., send_started: _Optional[_Union[SendStarted, _Mapping]] = ..., send_finished: _Optional[_Union[SendFinished, _Mapping]] = ..., identity: _Optional[_Union[IdentityMapping, _Mapping]] = ..., other: _Optional[_Union[OtherEvent, _Mapping]] = ..., chat: _Optional[_Union[ChatEvent, _Mapping]] = ..., presence: _Optional[_Union[ContactPresence, _Mapping]] = ..., limit: _Optional[_Union[LimitNotice, _Mapping]] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("jid", "lid", "pn")
    JID_FIELD_NUMBER: _ClassVar[int]
    LID_FIELD_NUMBER: _ClassVar[int]
    PN_FIELD_NUMBER: _ClassVar[int]
    jid: str
    lid: str
    pn: str
    def __init__(self, jid: _Optional[str] = ..., lid: _Optional[str] = ..., pn: _Optional[str] = ...) -> None: ...

class MessageKey(_message.Message):
    __slots__ = ("chat", "sender", "from_me", "id", "server_id")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    FROM_ME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    chat: str
    sender: str
    from_me: bool
    id: str
    server_id: int
    def __init__(self, chat: _Optional[str] = ..., sender: _Optional[str] = ..., from_me: _Optional[bool] = ..., id: _Optional[str] = ..., server_id: _Optional[int] = ...) -> None: ...

class IncomingMessage(_message.Message):
    __slots__ = ("key", "sender", "chat", "recipient", "sender_device", "addressing_mode", "chat_kind", "push_name", "verified_name", "occurred_at_ms", "stanza_type", "media_type", "category", "edit", "retry_count", "unavailable_request_id", "newsletter_edited_at_ms", "content", "from_me")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    SENDER_DEVICE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSING_MODE_FIELD_NUMBER: _ClassVar[int]
    CHAT_KIND_FIELD_NUMBER: _ClassVar[int]
    PUSH_NAME_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_NAME_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    STANZA_TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    EDIT_FIELD_NUMBER: _ClassVar[int]
    RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NEWSLETTER_EDITED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    FROM_ME_FIELD_NUMBER: _ClassVar[int]
    key: MessageKey
    sender: Identity
    chat: Identity
    recipient: Identity
    sender_device: int
    addressing_mode: str
    chat_kind: str
    push_name: str
    verified_name: str
    occurred_at_ms: int
    stanza_type: str
    media_type: str
    category: str
    edit: str
    retry_count: int
    unavailable_request_id: str
    newsletter_edited_at_ms: int
    content: Content
    from_me: bool
    def __init__(self, key: _Optional[_Union[MessageKey, _Mapping]] = ..., sender: _Optional[_Union[Identity, _Mapping]] = ..., chat: _Optional[_Union[Identity, _Mapping]] = ..., recipient: _Optional[_Union[Identity, _Mapping]] = ..., sender_device: _Optional[int] = ..., addressing_mode: _Optional[str] = ..., chat_kind: _Optional[str] = ..., push_name: _Optional[str] = ..., verified_name: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ..., stanza_type: _Optional[str] = ..., media_type: _Optional[str] = ..., category: _Optional[str] = ..., edit: _Optional[str] = ..., retry_count: _Optional[int] = ..., unavailable_request_id: _Optional[str] = ..., newsletter_edited_at_ms: _Optional[int] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., from_me: _Optional[bool] = ...) -> None: ...

class Undecryptable(_message.Message):
    __slots__ = ("key", "sender", "chat", "sender_device", "occurred_at_ms", "reason", "unavailable", "decrypt_fail_mode", "push_name", "chat_kind", "addressing_mode")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    SENDER_DEVICE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    DECRYPT_FAIL_MODE_FIELD_NUMBER: _ClassVar[int]
    PUSH_NAME_FIELD_NUMBER: _ClassVar[int]
    CHAT_KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESSING_MODE_FIELD_NUMBER: _ClassVar[int]
    key: MessageKey
    sender: Identity
    chat: Identity
    sender_device: int
    occurred_at_ms: int
    reason: str
    unavailable: bool
    decrypt_fail_mode: str
    push_name: str
    chat_kind: str
    addressing_mode: str
    def __init__(self, key: _Optional[_Union[MessageKey, _Mapping]] = ..., sender: _Optional[_Union[Identity, _Mapping]] = ..., chat: _Optional[_Union[Identity, _Mapping]] = ..., sender_device: _Optional[int] = ..., occurred_at_ms: _Optional[int] = ..., reason: _Optional[str] = ..., unavailable: _Optional[bool] = ..., decrypt_fail_mode: _Optional[str] = ..., push_name: _Optional[str] = ..., chat_kind: _Optional[str] = ..., addressing_mode: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("chat", "participant", "participant_device", "message_ids", "wire_type", "occurred_at_ms", "from_me", "message_sender")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_DEVICE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    WIRE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FROM_ME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SENDER_FIELD_NUMBER: _ClassVar[int]
    chat: Identity
    participant: Identity
    participant_device: int
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    wire_type: str
    occurred_at_ms: int
    from_me: bool
    message_sender: str
    def __init__(self, chat: _Optional[_Union[Identity, _Mapping]] = ..., participant: _Optional[_Union[Identity, _Mapping]] = ..., participant_device: _Optional[int] = ..., message_ids: _Optional[_Iterable[str]] = ..., wire_type: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ..., from_me: _Optional[bool] = ..., message_sender: _Optional[str] = ...) -> None: ...

class SessionState(_message.Message):
    __slots__ = ("state", "reason_code", "reason", "self", "platform", "business_name", "expires_at_ms", "counts", "command_id")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[SessionState.State]
        UNPAIRED: _ClassVar[SessionState.State]
        PAIRING: _ClassVar[SessionState.State]
        PAIRED: _ClassVar[SessionState.State]
        PAIR_FAILED: _ClassVar[SessionState.State]
        CONNECTING: _ClassVar[SessionState.State]
        ONLINE: _ClassVar[SessionState.State]
        OFFLINE: _ClassVar[SessionState.State]
        LOGGED_OUT: _ClassVar[SessionState.State]
        REPLACED: _ClassVar[SessionState.State]
        BANNED: _ClassVar[SessionState.State]
        OUTDATED: _ClassVar[SessionState.State]
        FAILED: _ClassVar[SessionState.State]
        STREAM_ERROR: _ClassVar[SessionState.State]
        DEGRADED: _ClassVar[SessionState.State]
        RESTORED: _ClassVar[SessionState.State]
        OFFLINE_SYNC: _ClassVar[SessionState.State]
        RESTART_REQUIRED: _ClassVar[SessionState.State]
        GAP: _ClassVar[SessionState.State]
    UNKNOWN: SessionState.State
    UNPAIRED: SessionState.State
    PAIRING: SessionState.State
    PAIRED: SessionState.State
    PAIR_FAILED: SessionState.State
    CONNECTING: SessionState.State
    ONLINE: SessionState.State
    OFFLINE: SessionState.State
    LOGGED_OUT: SessionState.State
    REPLACED: SessionState.State
    BANNED: SessionState.State
    OUTDATED: SessionState.State
    FAILED: SessionState.State
    STREAM_ERROR: SessionState.State
    DEGRADED: SessionState.State
    RESTORED: SessionState.State
    OFFLINE_SYNC: SessionState.State
    RESTART_REQUIRED: SessionState.State
    GAP: SessionState.State
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SELF_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    BUSINESS_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    state: SessionState.State
    reason_code: int
    reason: str
    self: Identity
    platform: str
    business_name: str
    expires_at_ms: int
    counts: _containers.ScalarMap[str, int]
    command_id: str
    def __init__(self_, state: _Optional[_Union[SessionState.State, str]] = ..., reason_code: _Optional[int] = ..., reason: _Optional[str] = ..., self: _Optional[_Union[Identity, _Mapping]] = ..., platform: _Optional[str] = ..., business_name: _Optional[str] = ..., expires_at_ms: _Optional[int] = ..., counts: _Optional[_Mapping[str, int]] = ..., command_id: _Optional[str] = ...) -> None: ...

class PairingCode(_message.Message):
    __slots__ = ("qr_codes", "code", "expires_at_ms", "index", "total", "command_id")
    QR_CODES_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    qr_codes: _containers.RepeatedScalarFieldContainer[str]
    code: str
    expires_at_ms: int
    index: int
    total: int
    command_id: str
    def __init__(self, qr_codes: _Optional[_Iterable[str]] = ..., code: _Optional[str] = ..., expires_at_ms: _Optional[int] = ..., index: _Optional[int] = ..., total: _Optional[int] = ..., command_id: _Optional[str] = ...) -> None: ...

class SendStarted(_message.Message):
    __slots__ = ("command_id", "message_id", "chat", "recipient", "ephemeral_s", "ephemeral_set_at_ms")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_S_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_SET_AT_MS_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    message_id: str
    chat: str
    recipient: Identity
    ephemeral_s: int
    ephemeral_set_at_ms: int
    def __init__(self, command_id: _Optional[str] = ..., message_id: _Optional[str] = ..., chat: _Optional[str] = ..., recipient: _Optional[_Union[Identity, _Mapping]] = ..., ephemeral_s: _Optional[int] = ..., ephemeral_set_at_ms: _Optional[int] = ...) -> None: ...

class SendFinished(_message.Message):
    __slots__ = ("command_id", "message_id", "outcome", "error_code", "error", "error_kind", "server_time_ms", "server_id", "chat")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[SendFinished.Outcome]
        ACKED: _ClassVar[SendFinished.Outcome]
        REJECTED: _ClassVar[SendFinished.Outcome]
        NO_ACK: _ClassVar[SendFinished.Outcome]
        NOT_SENT: _ClassVar[SendFinished.Outcome]
    UNSPECIFIED: SendFinished.Outcome
    ACKED: SendFinished.Outcome
    REJECTED: SendFinished.Outcome
    NO_ACK: SendFinished.Outcome
    NOT_SENT: SendFinished.Outcome
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_KIND_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    message_id: str
    outcome: SendFinished.Outcome
    error_code: int
    error: str
    error_kind: str
    server_time_ms: int
    server_id: int
    chat: str
    def __init__(self, command_id: _Optional[str] = ..., message_id: _Optional[str] = ..., outcome: _Optional[_Union[SendFinished.Outcome, str]] = ..., error_code: _Optional[int] = ..., error: _Optional[str] = ..., error_kind: _Optional[str] = ..., server_time_ms: _Optional[int] = ..., server_id: _Optional[int] = ..., chat: _Optional[str] = ...) -> None: ...

class LimitNotice(_message.Message):
    __slots__ = ("kind", "active", "until_ms", "reason", "occurred_at_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    active: bool
    until_ms: int
    reason: str
    occurred_at_ms: int
    def __init__(self, kind: _Optional[str] = ..., active: _Optional[bool] = ..., until_ms: _Optional[int] = ..., reason: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ...) -> None: ...

class IdentityMapping(_message.Message):
    __slots__ = ("lid", "pn")
    LID_FIELD_NUMBER: _ClassVar[int]
    PN_FIELD_NUMBER: _ClassVar[int]
    lid: str
    pn: str
    def __init__(self, lid: _Optional[str] = ..., pn: _Optional[str] = ...) -> None: ...

class ChatEvent(_message.Message):
    __slots__ = ("kind", "chat", "actor", "typing", "timer_s", "timer_set_at_ms", "occurred_at_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    TIMER_S_FIELD_NUMBER: _ClassVar[int]
    TIMER_SET_AT_MS_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    chat: Identity
    actor: Identity
    typing: str
    timer_s: int
    timer_set_at_ms: int
    occurred_at_ms: int
    def __init__(self, kind: _Optional[str] = ..., chat: _Optional[_Union[Identity, _Mapping]] = ..., actor: _Optional[_Union[Identity, _Mapping]] = ..., typing: _Optional[str] = ..., timer_s: _Optional[int] = ..., timer_set_at_ms: _Optional[int] = ..., occurred_at_ms: _Optional[int] = ...) -> None: ...

class ContactPresence(_message.Message):
    __slots__ = ("contact", "available", "last_seen_ms")
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_MS_FIELD_NUMBER: _ClassVar[int]
    contact: Identity
    available: bool
    last_seen_ms: int
    def __init__(self, contact: _Optional[_Union[Identity, _Mapping]] = ..., available: _Optional[bool] = ..., last_seen_ms: _Optional[int] = ...) -> None: ...

class OtherEvent(_message.Message):
    __slots__ = ("type", "json", "occurred_at_ms", "identity")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    type: str
    json: str
    occurred_at_ms: int
    identity: str
    def __init__(self, type: _Optional[str] = ..., json: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ..., identity: _Optional[str] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("type", "inner_type", "text", "preview", "target", "revoked_by", "reaction", "timer_s", "placeholder", "wrappers", "context", "raw", "system", "edited_at_ms", "text_guessed")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INNER_TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REVOKED_BY_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    TIMER_S_FIELD_NUMBER: _ClassVar[int]
    PLACEHOLDER_FIELD_NUMBER: _ClassVar[int]
    WRAPPERS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    TEXT_GUESSED_FIELD_NUMBER: _ClassVar[int]
    type: str
    inner_type: str
    text: str
    preview: LinkPreview
    target: MessageKey
    revoked_by: str
    reaction: str
    timer_s: int
    placeholder: str
    wrappers: _containers.RepeatedScalarFieldContainer[str]
    context: Context
    raw: Raw
    system: SystemInfo
    edited_at_ms: int
    text_guessed: bool
    def __init__(self, type: _Optional[str] = ..., inner_type: _Optional[str] = ..., text: _Optional[str] = ..., preview: _Optional[_Union[LinkPreview, _Mapping]] = ..., target: _Optional[_Union[MessageKey, _Mapping]] = ..., revoked_by: _Optional[str] = ..., reaction: _Optional[str] = ..., timer_s: _Optional[int] = ..., placeholder: _Optional[str] = ..., wrappers: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., raw: _Optional[_Union[Raw, _Mapping]] = ..., system: _Optional[_Union[SystemInfo, _Mapping]] = ..., edited_at_ms: _Optional[int] = ..., text_guessed: _Optional[bool] = ...) -> None: ...

class LinkPreview(_message.Message):
    __slots__ = ("url", "title", "description", "type", "thumbnail")
    URL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    url: str
    title: str
    description: str
    type: str
    thumbnail: bytes
    def __init__(self, url: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., type: _Optional[str] = ..., thumbnail: _Optional[bytes] = ...) -> None: ...

class SystemInfo(_message.Message):
    __slots__ = ("protocol_type", "stub_type", "parameters")
    PROTOCOL_TYPE_FIELD_NUMBER: _ClassVar[int]
    STUB_TYPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    protocol_type: str
    stub_type: int
    parameters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol_type: _Optional[str] = ..., stub_type: _Optional[int] = ..., parameters: _Optional[_Iterable[str]] = ...) -> None: ...

class Raw(_message.Message):
    __slots__ = ("format", "bytes", "field_numbers", "wa_version")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FIELD_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    WA_VERSION_FIELD_NUMBER: _ClassVar[int]
    format: str
    bytes: bytes
    field_numbers: _containers.RepeatedScalarFieldContainer[int]
    wa_version: str
    def __init__(self, format: _Optional[str] = ..., bytes: _Optional[bytes] = ..., field_numbers: _Optional[_Iterable[int]] = ..., wa_version: _Optional[str] = ...) -> None: ...

class Quoted(_message.Message):
    __slots__ = ("key", "type", "text")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    key: MessageKey
    type: str
    text: str
    def __init__(self, key: _Optional[_Union[MessageKey, _Mapping]] = ..., type: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class GroupMention(_message.Message):
    __slots__ = ("jid", "subject")
    JID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    jid: str
    subject: str
    def __init__(self, jid: _Optional[str] = ..., subject: _Optional[str] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("quoted", "mentions", "group_mentions", "mention_all", "forwarded", "forwarding_score", "ephemeral_s", "ephemeral_set_at_ms", "view_once", "thread_id", "conversion")
    class ConversionEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUOTED_FIELD_NUMBER: _ClassVar[int]
    MENTIONS_FIELD_NUMBER: _ClassVar[int]
    GROUP_MENTIONS_FIELD_NUMBER: _ClassVar[int]
    MENTION_ALL_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    FORWARDING_SCORE_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_S_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_SET_AT_MS_FIELD_NUMBER: _ClassVar[int]
    VIEW_ONCE_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FIELD_NUMBER: _ClassVar[int]
    quoted: Quoted
    mentions: _containers.RepeatedScalarFieldContainer[str]
    group_mentions: _containers.RepeatedCompositeFieldContainer[GroupMention]
    mention_all: bool
    forwarded: bool
    forwarding_score: int
    ephemeral_s: int
    ephemeral_set_at_ms: int
    view_once: bool
    thread_id: str
    conversion: _containers.ScalarMap[str, str]
    def __init__(self, quoted: _Optional[_Union[Quoted, _Mapping]] = ..., mentions: _Optional[_Iterable[str]] = ..., group_mentions: _Optional[_Iterable[_Union[GroupMention, _Mapping]]] = ..., mention_all: _Optional[bool] = ..., forwarded: _Optional[bool] = ..., forwarding_score: _Optional[int] = ..., ephemeral_s: _Optional[int] = ..., ephemeral_set_at_ms: _Optional[int] = ..., view_once: _Optional[bool] = ..., thread_id: _Optional[str] = ..., conversion: _Optional[_Mapping[str, str]] = ...) -> None: ...

class OutgoingContent(_message.Message):
    __slots__ = ("type", "text", "context", "preview", "target", "reaction")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    type: str
    text: str
    context: Context
    preview: LinkPreview
    target: MessageKey
    reaction: str
    def __init__(self, type: _Optional[str] = ..., text: _Optional[str] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., preview: _Optional[_Union[LinkPreview, _Mapping]] = ..., target: _Optional[_Union[MessageKey, _Mapping]] = ..., reaction: _Optional[str] = ...) -> None: ...
