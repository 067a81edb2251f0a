package host

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lease is how long the connector surely owns its sessions (Lease of host.proto). The gate keeps a login back until the
// attempt is durable; but while a dial takes its time Kafka may be cut off and another process may take the sessions over,
// and that login would throw its out.
type lease struct {
	now   func() time.Duration // of the clock that the connector reads, too
	until atomic.Int64         // 0: none was ever given, and none is asked for
}

func newLease(now func() time.Duration) *lease { return &lease{now: now} }

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
