package signalstore

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// A send and a decryption of the same session exclude each other, and no update is lost.
func TestRatchetLock(t *testing.T) {
	const rounds = 300
	s := newStore(t, Options{})
	ctx := context.Background()
	step := func(b []byte) []byte { return append(bytes.Clone(b), 1) }
	var wg sync.WaitGroup
	run := func(fn func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range rounds {
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	run(func() error {
		return s.DoDecryptionTxn(ctx, func(ctx context.Context) error {
			b, err := s.GetSession(ctx, "a:0")
			if err != nil {
				return err
			}
			return s.PutSession(ctx, "a:0", step(b))
		})
	})
	run(func() error {
		ctx, done := s.SendScope(ctx)
		defer done()
		m, err := s.GetManySessions(ctx, []string{"a:0"})
		if err != nil {
			return err
		}
		return s.PutManySessions(ctx, map[string][]byte{"a:0": step(m["a:0"])})
	})
	run(func() error {
		b, err := s.GetSession(ctx, "a:0")
		if err != nil {
			return err
		}
		return s.PutSession(ctx, "a:0", step(b))
	})
	wg.Wait()
	if n := len(s.get("s/a:0")); n != 3*rounds {
		t.Errorf("%d of %d updates survived", n, 3*rounds)
	}
}

// What ends without storing gives the lock back.
func TestRatchetLockIsGivenBack(t *testing.T) {
	ctx := context.Background()
	for name, leave := range map[string]func(*testing.T, *Store){
		"send that failed": func(t *testing.T, s *Store) {
			ctx, done := s.SendScope(ctx)
			if _, err := s.GetManySessions(ctx, []string{"a:0"}); err != nil {
				t.Fatal(err)
			}
			done()
		},
		"decryption that failed": func(t *testing.T, s *Store) {
			want := errors.New("bad")
			if err := s.DoDecryptionTxn(ctx, func(ctx context.Context) error {
				_, err := s.GetSession(ctx, "a:0")
				return errors.Join(err, want)
			}); !errors.Is(err, want) {
				t.Fatal(err)
			}
		},
		"untrusted identity": func(t *testing.T, s *Store) {
			if err := s.PutIdentity(ctx, "a:0", [32]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.GetSession(ctx, "a:0"); err != nil {
				t.Fatal(err)
			}
			if ok, _ := s.IsTrustedIdentity(ctx, "a:0", [32]byte{2}); ok {
				t.Fatal("trusted")
			}
		},
		"left behind": func(t *testing.T, s *Store) {
			if _, err := s.GetSession(ctx, "b:0"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			leave(t, s)
			got := make(chan error, 1)
			go func() {
				got <- s.DoDecryptionTxn(ctx, func(context.Context) error { return nil })
			}()
			select {
			case err := <-got:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(3 * anonymousLease):
				t.Error("the lock was kept")
			}
		})
	}
}

// Close wakes who waits for the lock and refuses every write.
func TestClose(t *testing.T) {
	journal := &replayer{state: map[string][]byte{}}
	s := newStore(t, Options{Journal: journal})
	ctx, done := s.SendScope(context.Background())
	defer done()
	if _, err := s.GetManySessions(ctx, []string{"a:0"}); err != nil {
		t.Fatal(err)
	}
	waiter := make(chan error, 1)
	go func() { waiter <- s.DoDecryptionTxn(context.Background(), func(context.Context) error { return nil }) }()
	s.Close()
	if err := <-waiter; !errors.Is(err, ErrClosed) {
		t.Errorf("waiter: %v", err)
	}
	if err := s.PutManySessions(ctx, map[string][]byte{"a:0": {1}}); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if journal.changes != 0 {
		t.Error("journaled after the end")
	}
}
