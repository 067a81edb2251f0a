package host

import (
	"sync"
	"time"
)

// Received message stanzas of one connection and what became of them.
//
// whatsmeow handles them one after another and answers each with an ack or a receipt. It says nothing when a handler
// ends, acks what it could not decrypt before it dispatches the event, and drops some stanzas without any event. So each
// stanza is followed from the moment it is read to its answer, and the answer is judged here:
//
//   - answerPlain: the event is in the journal (or none is due), the answer rests on the journal as it stands;
//   - answerEarly: the event is still to come, the answer rests on it;
//   - answerLost: handled, answered, and no event will come: the host reports the stanza itself.

type stanzaKey struct{ id, from, participant string }

type stanza struct {
	key      stanzaKey
	tag      string
	peer     bool // category=peer: whatsmeow sends one more receipt, at any time
	begun    bool
	event    bool // its event was journaled
	quiet    bool // no event is due: seen before, or nothing but a sender key
	expected *expectation
}

type verdict int

const (
	answerPlain verdict = iota
	answerEarly
	answerLost
)

// answer is an ack or receipt of ours.
type answer struct {
	key         stanzaKey
	ack         bool
	code        string // error of a nack
	receiptType string
}

// Nacks after which whatsmeow dispatches nothing: parsing, unrecognised stanza, invalid protobuf.
var silentNacks = map[string]bool{"487": true, "488": true, "491": true}

// Receipts that answer a stanza; others (read, played, hist_sync …) tell something else.
var answeringReceipts = map[string]bool{"": true, "inactive": true, "sender": true, "peer_msg": true, "retry": true}

type inbound struct {
	mu    sync.Mutex
	queue []*stanza
	since time.Time // when the first one became the first
}

func (in *inbound) received(s *stanza) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		in.since = time.Now()
	}
	in.queue = append(in.queue, s)
}

// reset forgets the stanzas of an ended connection that were not begun; a handler may still run for the first one.
func (in *inbound) reset() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) > 0 && (in.queue[0].begun || in.queue[0].expected != nil) {
		in.queue = in.queue[:1:1]
		return
	}
	in.queue = nil
}

// decrypted notes that the stanza in hand went through a decryption; an old counter was seen before.
func (in *inbound) decrypted(oldCounter bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) > 0 {
		in.queue[0].begun = true
		in.queue[0].quiet = in.queue[0].quiet || oldCounter
	}
}

// dispatched notes the event (or, with event=false, that none is due) of a stanza and gives what waits for it.
func (in *inbound) dispatched(id string, event bool) *expectation {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, s := range in.queue {
		if s.key.id != id || s.event {
			continue
		}
		s.quiet = s.quiet || !event
		if !event {
			return nil
		}
		s.event = true
		if s.expected != nil && !s.peer {
			// It was answered already: nothing more will come of it.
			in.queue = append(in.queue[:i:i], in.queue[i+1:]...)
		}
		return s.expected
	}
	return nil
}

// answered judges an answer. expect is called for an early one.
func (in *inbound) answered(a answer, expect func() *expectation) (verdict, *stanza) {
	in.mu.Lock()
	defer in.mu.Unlock()
	at := -1
	for i, s := range in.queue {
		if s.key == a.key {
			at = i
			break
		}
	}
	if !a.ack && !answeringReceipts[a.receiptType] {
		return answerPlain, nil
	}
	if at < 0 {
		if a.receiptType != "retry" && a.code == "" {
			return answerPlain, nil
		}
		at = 0
		in.queue = append([]*stanza{{key: a.key, tag: "message"}}, in.queue...)
		in.since = time.Now()
	}
	s := in.queue[at]
	switch {
	case s.event:
		in.removeUpTo(at)
		return answerPlain, s
	case a.ack && silentNacks[a.code]:
		in.removeUpTo(at)
		return answerLost, s
	case a.ack, a.receiptType == "retry", s.peer:
		// The extra receipt of a peer message may go before its event, too.
		return in.early(s, expect), s
	case s.quiet:
		in.removeUpTo(at)
		return answerPlain, s
	}
	in.removeUpTo(at)
	return answerLost, s
}

func (in *inbound) early(s *stanza, expect func() *expectation) verdict {
	if s.expected == nil {
		s.expected = expect()
	}
	return answerEarly
}

// lost gives up waiting for the event of a stanza: true when it did not come in the meantime.
func (in *inbound) lost(s *stanza) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.event {
		return false
	}
	s.event = true
	for i, q := range in.queue {
		if q == s {
			in.queue = append(in.queue[:i:i], in.queue[i+1:]...)
			break
		}
	}
	return true
}

// removeUpTo forgets an answered stanza and those before it: they were handled before.
func (in *inbound) removeUpTo(at int) {
	in.since = time.Now()
	if in.queue = in.queue[at+1:]; len(in.queue) == 0 {
		in.queue = nil
	}
}

// waiting is how long the first stanza has been there.
func (in *inbound) waiting(now time.Time) time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return 0
	}
	return now.Sub(in.since)
}
