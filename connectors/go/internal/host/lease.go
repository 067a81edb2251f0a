package host

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"wharf/connectors/internal/hostpb"
)

// lease is how long the connector surely owns its sessions (Lease of host.proto). The gate keeps everything back until what
// it rests on is durable; but a connector that stood still may say so late, or may ask for a send before it knows, and a dial
// may take its time, when another process has the sessions already: then a login would throw its out, and a message would
// be the second one.
type lease struct {
	now   func() time.Duration // of the clock that the connector reads, too
	asked atomic.Bool          // by Hello; else it always holds
	until atomic.Int64

	// waiting is what came after the end and lets something leave; the next lease makes it count. The reader's own.
	waiting []*hostpb.ToHost
}

func newLease(now func() time.Duration) *lease { return &lease{now: now} }

func (l *lease) holds() bool { return !l.asked.Load() || l.now() < time.Duration(l.until.Load()) }

// renew returns what may be done now.
func (l *lease) renew(until time.Duration) []*hostpb.ToHost {
	l.until.Store(int64(until))
	if !l.holds() {
		return nil
	}
	waiting := l.waiting
	l.waiting = nil
	return waiting
}

// keeps takes what has to wait for the next lease.
func (l *lease) keeps(m *hostpb.ToHost) bool {
	if l.holds() {
		return false
	}
	switch m.Body.(type) {
	case *hostpb.ToHost_Durable, *hostpb.ToHost_Send, *hostpb.ToHost_Mark, *hostpb.ToHost_Logout, *hostpb.ToHost_Pair:
		l.waiting = append(l.waiting, m)
		return true
	default:
		return false
	}
}

// monotonic reads the clock that Python's time.monotonic reads.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(monotonicClock, &t); err != nil {
		return 0 // it exists wherever this was built for
	}
	return time.Duration(t.Nano())
}
