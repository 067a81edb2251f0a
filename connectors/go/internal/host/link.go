package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"wharf/connectors/internal/hostpb"
)

// The link to the connector: one reader, one writer. The writer takes entries from the sessions in turn, one each, and
// only while it has credit; what is not journal (SessionClosed, stats) needs none.

// linger lets an entry collect what comes within it: the connector commits every 10 ms anyway.
const linger = 2 * time.Millisecond

type link struct {
	conn    io.ReadWriteCloser
	metrics *metrics

	mu      sync.Mutex
	turn    []*session // those that may have something, in the order of their turns
	waiting map[*session]struct{}
	control []*hostpb.FromHost
	credit  int64
	wake    chan struct{}

	pendingBytes  atomic.Int64 // journal held by all sessions, as of the last round
	pendingBudget int64
}

func newLink(conn io.ReadWriteCloser, m *metrics, budget int64) *link {
	return &link{
		conn: conn, metrics: m, waiting: make(map[*session]struct{}), wake: make(chan struct{}, 1), pendingBudget: budget,
	}
}

// ready puts a session in the queue for its turn. It does not block.
func (l *link) ready(s *session) {
	l.mu.Lock()
	if _, ok := l.waiting[s]; !ok {
		l.waiting[s] = struct{}{}
		l.turn = append(l.turn, s)
	}
	l.mu.Unlock()
	l.poke()
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// tell queues a message that is not journal.
func (l *link) tell(m *hostpb.FromHost) {
	l.mu.Lock()
	l.control = append(l.control, m)
	l.mu.Unlock()
	l.poke()
}

// tellLast writes a message itself, before the process ends; nothing else was told yet.
func (l *link) tellLast(m *hostpb.FromHost) {
	frame, err := appendFrame(nil, m)
	if err == nil {
		_, _ = l.conn.Write(frame) // the process ends either way
	}
}

func (l *link) addCredit(n uint64) {
	l.mu.Lock()
	l.credit += int64(n)
	l.mu.Unlock()
	l.poke()
}

// room tells whether sessions may read on: not while too much journal of all of them waits.
func (l *link) room() bool { return l.pendingBytes.Load() < l.pendingBudget }

func (l *link) next() (m *hostpb.FromHost, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.control) > 0 {
		m = l.control[0]
		l.control = l.control[1:]
		return m, nil
	}
	if len(l.turn) == 0 {
		return nil, nil
	}
	s = l.turn[0]
	l.turn[0] = nil
	l.turn = l.turn[1:]
	delete(l.waiting, s)
	return nil, s
}

func (l *link) hasCredit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.credit > 0
}

// write runs until done is closed or the connection fails.
func (l *link) write(done <-chan struct{}, gone func(*session)) error {
	out := bufio.NewWriterSize(l.conn, 64<<10)
	var frame []byte
	var last time.Time
	send := func(m *hostpb.FromHost) (int, error) {
		var err error
		if frame, err = appendFrame(frame[:0], m); err != nil {
			return 0, err
		}
		_, err = out.Write(frame)
		return len(frame) - frameHeader, err
	}
	for {
		select {
		case <-done:
			return nil
		case <-l.wake:
		}
		if d := linger - time.Since(last); d > 0 {
			time.Sleep(d)
		}
		if err := l.round(send, gone); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if cap(frame) > 1<<20 {
			frame = nil
		}
		last = time.Now()
	}
}

// hungUp tells whether a write failed because the other side is gone.
func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// round gives every session in the queue its turns until nothing is left or the credit is used up.
func (l *link) round(send func(*hostpb.FromHost) (int, error), gone func(*session)) error {
	var broke []*session
	for {
		m, s := l.next()
		switch {
		case m != nil:
			if _, err := send(m); err != nil {
				return err
			}
			continue
		case s == nil:
			l.mu.Lock()
			for _, s := range broke {
				if _, ok := l.waiting[s]; !ok {
					l.waiting[s] = struct{}{}
					l.turn = append(l.turn, s)
				}
			}
			l.mu.Unlock()
			return nil
		}
		if !l.hasCredit() && !s.journal.drained() {
			broke = append(broke, s)
			continue
		}
		if entry := s.journal.take(); entry != nil {
			n, err := send(&hostpb.FromHost{Body: &hostpb.FromHost_Entry{Entry: entry}})
			if errors.Is(err, errFrameTooLarge) {
				s.log.Error("an entry exceeds the frame size", "position", entry.Position)
				go s.teardown("entry_too_large", true)
				continue
			}
			if err != nil {
				return err
			}
			l.mu.Lock()
			l.credit -= int64(n)
			l.mu.Unlock()
			l.metrics.entries.Inc()
			l.metrics.entryBytes.Add(float64(n))
			l.ready(s)
			continue
		}
		if closed := s.farewell(); closed != nil {
			if _, err := send(&hostpb.FromHost{Body: &hostpb.FromHost_Closed{Closed: closed}}); err != nil {
				return err
			}
			gone(s)
		}
	}
}

// read hands each message to take until the connector is gone.
func (l *link) read(take func(*hostpb.ToHost) error) error {
	in := bufio.NewReaderSize(l.conn, 64<<10)
	var buf []byte
	for {
		m := &hostpb.ToHost{}
		var err error
		if buf, err = readFrame(in, buf, m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if cap(buf) > 1<<20 {
			buf = nil
		}
		if err := take(m); err != nil {
			return fmt.Errorf("%T: %w", m.Body, err)
		}
	}
}
