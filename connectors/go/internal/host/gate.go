package host

import (
	"errors"
	"net"
	"sync"
)

// The gate on a session's socket: writers never wait, what they write waits until the journal it rests on is durable.
//
// Bytes keep their order. When a connection ends, what was held on it is dropped: WhatsApp delivers again what was not
// acknowledged, and a send whose frame was dropped ends without an ack and is repeated with the same bytes.

var errGateOverflow = errors.New("more bytes held for the connector than allowed")

type gate struct {
	net.Conn
	journal  *journal
	limit    int
	overflow func()
	dropped  func() // the connection is given up; what was read on it will not be answered
	direct   bool   // mutant: no output gate
	arrivals arrivals

	mu       sync.Mutex
	queue    []held
	tags     []tag // around the bytes written next
	bytes    int
	flushing bool
	closed   bool
}

type held struct {
	rests mark
	bytes []byte
	tags  []tag
}

// tag is run around the writing of what it is attached to; both may be nil.
type tag struct{ before, after func() }

func newGate(conn net.Conn, j *journal, limit int, overflow, dropped func(), direct bool) *gate {
	return &gate{Conn: conn, journal: j, limit: limit, overflow: overflow, dropped: dropped, direct: direct}
}

// Write takes bytes; it returns before they have left.
func (g *gate) Write(b []byte) (int, error) {
	rests := g.journal.mark()
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return 0, net.ErrClosed
	}
	tags := g.tags
	g.tags = nil
	if g.direct {
		g.mu.Unlock()
		err := g.write(b, tags)
		return len(b), err
	}
	if g.bytes+len(b) > g.limit {
		g.mu.Unlock()
		g.overflow()
		return 0, errGateOverflow
	}
	g.queue = append(g.queue, held{rests, append([]byte(nil), b...), tags})
	g.bytes += len(b)
	g.startLocked()
	g.mu.Unlock()
	return len(b), nil
}

// Read gives what came in, later while arrivals are closed.
func (g *gate) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.arrivals.pass()
	return n, err
}

// whenSent runs before and after around the next bytes' leaving.
func (g *gate) whenSent(before, after func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tags = append(g.tags, tag{before, after})
	}
}

// release looks again at what is held; it does not block.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.startLocked()
}

func (g *gate) startLocked() {
	if g.flushing || g.closed || len(g.queue) == 0 || !g.journal.covered(g.queue[0].rests) {
		return
	}
	g.flushing = true
	go g.flush()
}

// flush writes what may leave, one writer at a time.
func (g *gate) flush() {
	for {
		g.mu.Lock()
		if g.closed || len(g.queue) == 0 || !g.journal.covered(g.queue[0].rests) {
			g.flushing = false
			g.mu.Unlock()
			return
		}
		h := g.queue[0]
		g.queue[0] = held{}
		if g.queue = g.queue[1:]; len(g.queue) == 0 {
			g.queue = nil
		}
		g.bytes -= len(h.bytes)
		g.mu.Unlock()
		if err := g.write(h.bytes, h.tags); err != nil {
			g.drop()
			return
		}
	}
}

func (g *gate) write(b []byte, tags []tag) error {
	for _, t := range tags {
		if t.before != nil {
			t.before()
		}
	}
	if _, err := g.Conn.Write(b); err != nil {
		return err
	}
	for _, t := range tags {
		if t.after != nil {
			t.after()
		}
	}
	return nil
}

func (g *gate) heldFrames() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue)
}

// drop closes the connection and forgets what was held.
func (g *gate) drop() {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.queue, g.tags, g.bytes = nil, nil, 0
	g.mu.Unlock()
	_ = g.Conn.Close() // the connection is given up either way
	g.arrivals.open()
	if first {
		g.dropped()
	}
}

// Close closes the connection and forgets what was held.
func (g *gate) Close() error {
	g.drop()
	return nil
}
