package server

import (
	"fmt"
	"maps"

	waBinary "go.mau.fi/whatsmeow/binary"
)

const (
	// maxUnknown bounds the list of stanzas that nobody here knows.
	maxUnknown = 50
	// maxQueryKinds bounds the counters by kind, whose names clients choose.
	maxQueryKinds = 500
	maxSample     = 300
)

type stats struct {
	queries, receipts                                                     map[string]int
	unknownCount                                                          int
	unknown                                                               []string
	connections, refusedHandshakes, malformed, logins, refusedLogins      int
	paired, unlinked, kicked, accepted, repeated, redelivered, duplicated int
	reencrypted, staleDeviceLists, ackErrors, droppedReceipts             int
	refusedMessages, notifications                                        int
}

func newStats() stats { return stats{queries: map[string]int{}, receipts: map[string]int{}} }

func (st *stats) query(kind string) { countName(st.queries, kind) }

func (st *stats) receipt(kind string) {
	if kind == "" {
		kind = "delivery"
	}
	countName(st.receipts, kind)
}

func countName(counters map[string]int, name string) {
	if _, known := counters[name]; !known && len(counters) >= maxQueryKinds {
		name = "other"
	}
	counters[name]++
}

func (s *Server) count(change func(*stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// unknown notes a stanza that has no handler.
func (s *Server) unknown(node *waBinary.Node) {
	sample := fmt.Sprintf("%s xmlns=%s type=%s", node.Tag, text(node, "xmlns"), text(node, "type"))
	for _, n := range node.GetChildren() {
		sample += " <" + n.Tag + ">"
	}
	if len(sample) > maxSample {
		sample = sample[:maxSample]
	}
	s.count(func(st *stats) {
		st.unknownCount++
		st.unknown = append(st.unknown, sample)
		if len(st.unknown) > maxUnknown {
			st.unknown = st.unknown[1:]
		}
	})
}

// Stats is a snapshot of what happened so far.
type Stats struct {
	Connections       int            `json:"connections"`
	Online            int            `json:"online"`
	Phones            int            `json:"phones"`
	Queued            int            `json:"queued"`
	RefusedHandshakes int            `json:"refused_handshakes"`
	Malformed         int            `json:"malformed_frames"`
	Paired            int            `json:"paired"`
	Unlinked          int            `json:"unlinked"`
	Logins            int            `json:"logins"`
	RefusedLogins     int            `json:"refused_logins"`
	Kicked            int            `json:"kicked"`
	Accepted          int            `json:"messages_accepted"`
	Repeated          int            `json:"messages_repeated"`
	Redelivered       int            `json:"stanzas_redelivered"`
	Duplicated        int            `json:"stanzas_duplicated"`
	Reencrypted       int            `json:"messages_reencrypted"`
	RefusedMessages   int            `json:"messages_refused_by_clients"`
	StaleDeviceLists  int            `json:"stale_device_lists"`
	AckErrors         int            `json:"ack_errors"`
	DroppedReceipts   int            `json:"receipts_dropped"`
	Notifications     int            `json:"notifications"`
	Queries           map[string]int `json:"queries"`
	Receipts          map[string]int `json:"receipts"`
	UnknownCount      int            `json:"unknown_count"`
	Unknown           []string       `json:"unknown"`
}

// Stats takes a snapshot.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.stats
	out := Stats{
		Connections: st.connections, Online: len(s.online), RefusedHandshakes: st.refusedHandshakes, Malformed: st.malformed,
		Paired: st.paired, Unlinked: st.unlinked, Logins: st.logins, RefusedLogins: st.refusedLogins, Kicked: st.kicked,
		Accepted: st.accepted, Repeated: st.repeated, Redelivered: st.redelivered, Duplicated: st.duplicated,
		Reencrypted: st.reencrypted, RefusedMessages: st.refusedMessages, StaleDeviceLists: st.staleDeviceLists, AckErrors: st.ackErrors,
		DroppedReceipts: st.droppedReceipts, Notifications: st.notifications,
		Queries: maps.Clone(st.queries), Receipts: maps.Clone(st.receipts), UnknownCount: st.unknownCount, Unknown: append([]string{}, st.unknown...),
	}
	for _, a := range s.Accounts.Sorted() {
		out.Phones++
		for _, dev := range a.Devices {
			out.Queued += dev.Queue.Len()
		}
	}
	return out
}
