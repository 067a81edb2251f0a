package host

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lease is how long the connector surely owns its sessions (Lease of host.proto). The gate keeps everything back until what
// it rests on is durable; but a connector that stands still may report that late, and a dial may take its time, when another
// process has the sessions already: then a login would throw its out, and a message would be the second one.
type lease struct {
	now   func() time.Duration // of the clock that the connector reads, too
	until atomic.Int64         // 0: none was ever given, and none is asked for

	// late is what was reported as durable after the end, by session; the next lease makes it count. The reader's own.
	late map[uint64]uint64
}

func newLease(now func() time.Duration) *lease {
	return &lease{now: now, late: make(map[uint64]uint64)}
}

func (l *lease) renew(until time.Duration) { l.until.Store(int64(until)) }

func (l *lease) holds() bool {
	until := l.until.Load()
	return until == 0 || l.now() < time.Duration(until)
}

// monotonic reads the clock that Python's time.monotonic reads.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(monotonicClock, &t); err != nil {
		return 0 // it exists wherever this was built for
	}
	return time.Duration(t.Nano())
}
