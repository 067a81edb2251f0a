package contacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"

	"go.mau.fi/whatsmeow/types"
)

// reply is an answer that a contact owes. Its id follows from what it answers, so that it is one message even when a
// restart makes the contact send it again.
type reply struct {
	To       string `json:"to"`
	Received string `json:"received"`
	Text     string `json:"text"`
}

func (r reply) id(phone string) string {
	digest := sha256.Sum256([]byte(strings.Join([]string{"echo", phone, r.To, r.Received}, "\x00")))
	return "3EB0" + strings.ToUpper(hex.EncodeToString(digest[:9]))
}

type replyQueue struct {
	mu      sync.Mutex
	waiting []reply
	wake    chan struct{}
	closed  bool
}

func newReplyQueue() *replyQueue { return &replyQueue{wake: make(chan struct{}, 1)} }

func (q *replyQueue) put(r reply) {
	q.mu.Lock()
	q.waiting = append(q.waiting, r)
	q.mu.Unlock()
	q.signal()
}

func (q *replyQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *replyQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // one signal is enough
	}
}

func (q *replyQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// first waits for the oldest reply; it stays in the queue until done is called.
func (q *replyQueue) first() (reply, bool) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return reply{}, false
		}
		if len(q.waiting) > 0 {
			r := q.waiting[0]
			q.mu.Unlock()
			return r, true
		}
		q.mu.Unlock()
		<-q.wake
	}
}

func (q *replyQueue) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = q.waiting[1:]
}

func (c *Contact) replyKey(r reply) string { return c.Phone + "/" + r.To + "/" + r.Received }

// promise notes a reply before the message it answers is acknowledged.
func (c *Contact) promise(r reply) {
	if c.pool.DB.Keeps() {
		if value, err := json.Marshal(r); err == nil { // three strings have a JSON form
			c.pool.DB.Put(bucketReplies, c.replyKey(r), value)
		}
	}
	c.replies.put(r)
}

// answer sends the promised replies, one after another.
func (c *Contact) answer() {
	for {
		r, ok := c.replies.first()
		if !ok {
			return
		}
		message, err := Text("echo: "+r.Text, Around{})
		if err == nil {
			err = c.SendSurely(c.pool.stop, types.NewJID(r.To, types.DefaultUserServer), r.id(c.Phone), message)
		}
		if c.pool.stop.Err() != nil || context.Cause(c.pool.stop) != nil {
			return // kept for the next start
		}
		if err != nil {
			c.pool.Log.Warn("reply not sent", "contact", c.Phone, "to", r.To, "answers", r.Received, "error", err)
		} else {
			c.counters.replied.Add(1)
		}
		c.replies.done()
		c.pool.DB.Delete(bucketReplies, c.replyKey(r))
	}
}
