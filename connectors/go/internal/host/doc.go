// Package host runs many WhatsApp sessions in one process for a connector, which owns their durability.
//
// Rule: a session's state lives in memory and every change of it is journaled; nothing leaves for WhatsApp before the
// journal it rests on is durable, and nothing here ever waits for durability: frames do.
//
//	wire.go       framing of the protocol on the connector's socket      link.go      reader and writer of that socket
//	journal.go    entries, open messages, positions (pure)                gate.go      frames held until their entry is durable
//	inbound.go    received stanzas and what became of them (pure)         nodes.go     the hooks on each node sent and received
//	host.go       sessions of this process                                session.go   one session's life
//	connect.go    dialling, login, reconnects                             pair.go      pairing by QR and by code
//	handler.go    whatsmeow's events into the journal                     send.go      commands to the wire, same bytes again
//	map_*.go      whatsmeow's types into the protocol's (pure)            compose.go   the protocol's content into waE2E (pure)
//	lease.go      nothing new leaves once another connector may own the sessions
//	switches.go   crash points and mutants, for tests only                telemetry.go metrics and health
package host
