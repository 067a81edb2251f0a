package signalstore

import (
	"context"
	"sync"
	"time"
)

// The ratchet lock: who reads a Signal session in order to change it excludes everybody else who does, until it is stored.
//
// An owner is a scope carried by the context (a decryption, a send), or nobody in particular: whatsmeow's peer messages and
// its retry handler pass contexts we cannot mark. Such an anonymous hold belongs to one address and ends when that address
// is stored, deleted or found untrusted. Between GetSession and PutSession there is no I/O, so an anonymous hold older than
// anonymousLease was left behind by a failed encryption and may be taken over.
const anonymousLease = 2 * time.Second

type scopeKey struct{}

// scope is one decryption or one send.
type scope struct {
	step  bool // its changes are ratchet steps of a received message
	holds bool // guarded by ratchetLock.mu
}

func scopeOf(ctx context.Context) *scope {
	if ctx == nil {
		return nil
	}
	sc, _ := ctx.Value(scopeKey{}).(*scope)
	return sc
}

// isStep tells whether changes made under ctx are ratchet steps of a received message.
func isStep(ctx context.Context) bool {
	sc := scopeOf(ctx)
	return sc != nil && sc.step
}

type ratchetLock struct {
	mu       sync.Mutex
	cond     sync.Cond
	disabled bool
	closed   bool
	owner    *scope // nil: free, or held anonymously
	address  string // of the anonymous hold, "" = none
	since    time.Time
}

func (l *ratchetLock) init(disabled bool) {
	l.cond.L = &l.mu
	l.disabled = disabled
}

func (l *ratchetLock) close() {
	l.mu.Lock()
	l.closed = true
	l.cond.Broadcast()
	l.mu.Unlock()
}

// acquire takes the lock for sc, or anonymously for address when sc is nil. A scope that holds it already goes on.
func (l *ratchetLock) acquire(sc *scope, address string) error {
	if l.disabled {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sc != nil && sc.holds {
		return nil
	}
	for !l.closed && (l.owner != nil || l.address != "") {
		if l.address != "" {
			left := anonymousLease - time.Since(l.since)
			if left <= 0 {
				break
			}
			t := time.AfterFunc(left, l.wake)
			l.cond.Wait()
			t.Stop()
			continue
		}
		l.cond.Wait()
	}
	if l.closed {
		return ErrClosed
	}
	l.owner, l.address = sc, ""
	if sc != nil {
		sc.holds = true
	} else {
		l.address, l.since = address, time.Now()
	}
	return nil
}

func (l *ratchetLock) wake() {
	l.mu.Lock()
	l.cond.Broadcast()
	l.mu.Unlock()
}

// release ends the hold of sc, or the anonymous hold of address when sc is nil. Not holding it is no error.
func (l *ratchetLock) release(sc *scope, address string) {
	if l.disabled {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case sc != nil && sc.holds:
		sc.holds = false
		l.owner = nil
	case sc == nil && address != "" && l.address == address:
		l.address = ""
	default:
		return
	}
	l.cond.Broadcast()
}

// SendScope marks ctx as one send: from the first read of sessions to their storing it holds the ratchet lock. done ends
// the hold in any case and must be called when SendMessage has returned.
func (s *Store) SendScope(ctx context.Context) (_ context.Context, done func()) {
	sc := &scope{}
	return context.WithValue(ctx, scopeKey{}, sc), func() { s.locks.release(sc, "") }
}

// DoDecryptionTxn runs one decryption under the ratchet lock (store.EventBuffer).
func (s *Store) DoDecryptionTxn(ctx context.Context, fn func(context.Context) error) error {
	err := s.decrypt(ctx, fn)
	if s.opts.Decrypted != nil {
		s.opts.Decrypted(err)
	}
	return err
}

func (s *Store) decrypt(ctx context.Context, fn func(context.Context) error) error {
	sc := &scope{step: true}
	if err := s.locks.acquire(sc, ""); err != nil {
		return err
	}
	defer s.locks.release(sc, "")
	return fn(context.WithValue(ctx, scopeKey{}, sc))
}
