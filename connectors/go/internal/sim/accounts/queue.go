package accounts

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// StanzaKey is what a client's ack names: enough to find the stanza, not always enough to make it unique.
type StanzaKey struct {
	Class string // message, receipt, notification
	ID    string
	From  string // user that the client sees as the sender
	Type  string // of receipts
}

// Entry is a stanza that a device has not acknowledged.
type Entry struct {
	Number  uint64
	Key     StanzaKey
	Payload []byte // the encoded stanza
	Sender  string // phone that caused it; empty for the server's own
	// Durable entries are on file. Only they are shown to the device.
	Durable bool
	// SentOn is the number of the connection that the entry was last written to.
	SentOn uint64
	// Twins is how often a duplicating fault sends the entry again.
	Twins int
	// Reencrypt asks the sender, after delivery, for the same message under new ciphertext.
	Reencrypt bool
}

type entryRecord struct {
	Key       StanzaKey
	Payload   []byte
	Sender    string `json:",omitempty"`
	Twins     int    `json:",omitempty"`
	Reencrypt bool   `json:",omitempty"`
}

// Queue keeps a device's entries in order. Two entries may share a key: a corrupt stanza and its repetition.
type Queue struct {
	entries map[uint64]*Entry
	byKey   map[StanzaKey][]*Entry
}

func newQueue() Queue {
	return Queue{entries: map[uint64]*Entry{}, byKey: map[StanzaKey][]*Entry{}}
}

// Len is the number of entries.
func (q *Queue) Len() int { return len(q.entries) }

// Entries lists the queue in order.
func (q *Queue) Entries() []*Entry {
	out := make([]*Entry, 0, len(q.entries))
	for _, e := range q.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(x, y *Entry) int { return cmp.Compare(x.Number, y.Number) })
	return out
}

// Has tells whether an entry is still in the queue.
func (q *Queue) Has(e *Entry) bool { return q.entries[e.Number] == e }

// Acknowledged is the oldest entry with this key that was sent on the connection; nil if there is none.
func (q *Queue) Acknowledged(key StanzaKey, connection uint64) *Entry {
	for _, e := range q.byKey[key] {
		if e.SentOn == connection {
			return e
		}
	}
	return nil
}

func (q *Queue) add(e *Entry) {
	q.entries[e.Number] = e
	q.byKey[e.Key] = append(q.byKey[e.Key], e)
}

func (q *Queue) remove(e *Entry) {
	delete(q.entries, e.Number)
	rest := slices.DeleteFunc(q.byKey[e.Key], func(x *Entry) bool { return x == e })
	if len(rest) == 0 {
		delete(q.byKey, e.Key)
	} else {
		q.byKey[e.Key] = rest
	}
}

// Enqueue numbers an entry and puts it at the end of a device's queue.
func (d *Directory) Enqueue(dev *Device, e *Entry) {
	d.queued++
	e.Number = d.queued
	dev.Queue.add(e)
	if !d.db.Keeps() {
		return
	}
	d.db.Put(bucketQueue, entryKey(dev, e), encode(entryRecord{e.Key, e.Payload, e.Sender, e.Twins, e.Reencrypt}))
}

// Dequeue takes an entry out.
func (d *Directory) Dequeue(dev *Device, e *Entry) {
	dev.Queue.remove(e)
	if !d.db.Keeps() {
		return
	}
	d.db.Delete(bucketQueue, entryKey(dev, e))
}

func entryKey(dev *Device, e *Entry) string { return fmt.Sprintf("%s/%016x", dev.key(), e.Number) }

func (d *Directory) loadEntry(key string, value []byte) error {
	at := strings.LastIndexByte(key, '/')
	if at < 0 {
		return fmt.Errorf("queue entry %q is damaged", key)
	}
	dev, err := d.deviceByKey(key[:at])
	if err != nil {
		return err
	}
	var r entryRecord
	if err = json.Unmarshal(value, &r); err != nil {
		return err
	}
	number, err := strconv.ParseUint(key[at+1:], 16, 64)
	if err != nil {
		return fmt.Errorf("queue entry %q: %w", key, err)
	}
	d.queued = max(d.queued, number)
	dev.Queue.add(&Entry{Number: number, Key: r.Key, Payload: r.Payload, Sender: r.Sender, Twins: r.Twins, Reencrypt: r.Reencrypt, Durable: true})
	return nil
}
