// Package ledger is the oracle for loss and duplicates: what the server accepted, and what contacts really got.
//
// Its rule: `sent` is written when the server acknowledges a message, `received` when a contact's client has decrypted
// one and dispatched it; each happening is one entry, and deduplication is done only when the ledger is read.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"

	"wharf/connectors/internal/sim/database"
)

const (
	bucketSent     = "ledger_sent"
	bucketReceived = "ledger_received"
)

// Sent is a message that the server accepted from a contact or a companion.
type Sent struct {
	Sender        string `json:"sender"`
	Device        uint16 `json:"device"`
	To            string `json:"to"`
	ID            string `json:"id"`
	AtMS          int64  `json:"at_ms"`
	Connection    uint64 `json:"connection"`  // of the sender; later ones have higher numbers
	LoginAtMS     int64  `json:"login_at_ms"` // when it logged in on it
	Count         int    `json:"count"`
	Undeliverable bool   `json:"undeliverable,omitempty"` // addressed only to devices that no longer exist
}

// Received is a message that a contact's client decrypted.
type Received struct {
	Recipient string `json:"recipient"`
	Sender    string `json:"sender"`
	ID        string `json:"id"`
	Text      string `json:"text"`
	Kind      string `json:"kind"`
	QuotedID  string `json:"quoted_id,omitempty"`
	TargetID  string `json:"target_id,omitempty"` // what an edit, revoke or reaction is about
	Count     int    `json:"count"`
	AtMS      int64  `json:"at_ms"`

	Details *Details `json:"details,omitempty"`
}

// Details are what stood around a text.
type Details struct {
	Mentions     []string `json:"mentions,omitempty"`
	MentionAll   bool     `json:"mention_all,omitempty"`
	QuotedSender string   `json:"quoted_sender,omitempty"`
	TimerS       uint32   `json:"timer_s,omitempty"`
	TimerSetS    int64    `json:"timer_set_at_s,omitempty"`
	URL          string   `json:"url,omitempty"`
	Title        string   `json:"title,omitempty"`
	Description  string   `json:"description,omitempty"`
	Thumbnail    []byte   `json:"thumbnail,omitempty"`
}

// Ledger collects entries in memory and in the database.
type Ledger struct {
	db       *database.Database
	mu       sync.Mutex
	first    uint64 // number of the oldest entry on file, less one
	next     uint64 // number of the newest
	sent     []Sent
	received []Received
	seen     map[key]int // events a recipient had under an id
}

type key struct{ recipient, sender, id string }

// Load reads the entries left by an earlier process.
func Load(db *database.Database) (*Ledger, error) {
	l := &Ledger{db: db, seen: map[key]int{}}
	l.first = math.MaxUint64
	if err := db.Each(bucketSent, func(k string, v []byte) error { return errors.Join(l.number(k), appendEntry(&l.sent, v)) }); err != nil {
		return nil, fmt.Errorf("reading the ledger of sent messages: %w", err)
	}
	if err := db.Each(bucketReceived, func(k string, v []byte) error { return errors.Join(l.number(k), appendEntry(&l.received, v)) }); err != nil {
		return nil, fmt.Errorf("reading the ledger of received messages: %w", err)
	}
	l.first = min(l.first, l.next)
	for _, r := range l.received {
		l.seen[key{r.Recipient, r.Sender, r.ID}]++
	}
	return l, nil
}

func (l *Ledger) number(key string) error {
	n, err := strconv.ParseUint(key, 16, 64)
	l.first, l.next = min(l.first, n-1), max(l.next, n)
	return err
}

func appendEntry[T any](to *[]T, value []byte) error {
	var entry T
	if err := json.Unmarshal(value, &entry); err != nil {
		return err
	}
	*to = append(*to, entry)
	return nil
}

// AddSent notes an accepted message.
func (l *Ledger) AddSent(s Sent) {
	s.Count = 1
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, s)
	l.keep(bucketSent, s)
}

// AddReceived notes a decrypted message and returns how many events its recipient had under this id, this one included.
func (l *Ledger) AddReceived(r Received) int {
	r.Count = 1
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received = append(l.received, r)
	l.keep(bucketReceived, r)
	k := key{r.Recipient, r.Sender, r.ID}
	l.seen[k]++
	return l.seen[k]
}

func (l *Ledger) keep(bucket string, entry any) {
	if !l.db.Keeps() {
		return
	}
	value, err := json.Marshal(entry)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", entry, err)) // plain fields only
	}
	l.next++
	l.db.Put(bucket, entryKey(l.next), value)
}

// Filter selects entries by phone number; empty fields select all.
type Filter struct {
	From, To string
	Dedupe   bool // one entry per (sender, recipient, id), with the number of events as its count
}

func (f Filter) admits(from, to string) bool {
	return (f.From == "" || f.From == from) && (f.To == "" || f.To == to)
}

// Sent lists accepted messages in order.
func (l *Ledger) Sent(f Filter) []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Sent, 0)
	at := map[key]int{}
	for _, s := range l.sent {
		if !f.admits(s.Sender, s.To) {
			continue
		}
		k := key{s.To, s.Sender, s.ID}
		if i, known := at[k]; known && f.Dedupe {
			out[i].Count++
			continue
		}
		at[k] = len(out)
		out = append(out, s)
	}
	return out
}

// Received lists decrypted messages in order.
func (l *Ledger) Received(f Filter) []Received {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Received, 0)
	at := map[key]int{}
	for _, r := range l.received {
		if !f.admits(r.Sender, r.Recipient) {
			continue
		}
		k := key{r.Recipient, r.Sender, r.ID}
		if i, known := at[k]; known && f.Dedupe {
			out[i].Count++
			continue
		}
		at[k] = len(out)
		out = append(out, r)
	}
	return out
}

// Counts tells the number of entries without listing them.
func (l *Ledger) Counts() (sent, received int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent), len(l.received)
}

// Clear forgets everything.
func (l *Ledger) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := l.first + 1; n <= l.next; n++ {
		l.db.Delete(bucketSent, entryKey(n))
		l.db.Delete(bucketReceived, entryKey(n))
	}
	l.first = l.next
	l.sent, l.received, l.seen = nil, nil, map[key]int{}
}

func entryKey(number uint64) string { return fmt.Sprintf("%016x", number) }
