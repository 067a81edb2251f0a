package host

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Switches for tests only: the process must have been started with --allow-crash. Every other file asks here.

// Crash points, in the order in which a message passes them.
var crashPoints = map[string]bool{
	"after_ratchet":           true, // inbound: ratchet step made, event not journaled
	"after_undecryptable_ack": true, // retry receipt and ack written, event not journaled
	"before_journal":          true, // inbound: event mapped, not journaled
	"after_durable":           true, // the connector said durable, no frame has left yet
	"after_sending":           true, // outbound: stanza durable, frame not on the wire
	"after_wire":              true, // outbound: acked by the server, not journaled
}

// mutants switch one mechanism off; the tests must then find lost or doubled messages.
type mutants struct {
	noOutputGate  bool // frames leave at once
	noRatchetLock bool
	reEncrypt     bool // an interrupted send is encrypted anew instead of repeated
	noTeardown    bool // a session goes on from uncommitted state after a failed commit
	cutOpen       bool // entries end inside open messages
}

func parseMutant(name string) (m mutants, err error) {
	switch name {
	case "":
	case "no-output-gate":
		m.noOutputGate = true
	case "no-ratchet-lock":
		m.noRatchetLock = true
	case "re-encrypt":
		m.reEncrypt = true
	case "no-teardown":
		m.noTeardown = true
	case "cut-open":
		m.cutOpen = true
	default:
		return m, fmt.Errorf("unknown mutant %q", name)
	}
	return m, nil
}

// crashPause is how long a crash point holds its goroutine before the process dies.
const crashPause = 200 * time.Millisecond

type switches struct {
	mutants
	allowed bool

	mu      sync.Mutex
	point   string
	passage uint32
	die     func() // kills the process; tests in the process replace it
}

func newSwitches(allowed bool, mutant string) (*switches, error) {
	m, err := parseMutant(mutant)
	if err != nil {
		return nil, err
	}
	if mutant != "" && !allowed {
		return nil, fmt.Errorf("mutant %q needs --allow-crash", mutant)
	}
	return &switches{mutants: m, allowed: allowed, die: dieNow}, nil
}

func dieNow() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}

// crashAt arms a point for its n-th passage from now.
func (s *switches) crashAt(point string, passage uint32) error {
	if !s.allowed {
		return fmt.Errorf("crash points need --allow-crash")
	}
	if point != "" && !crashPoints[point] {
		return fmt.Errorf("unknown crash point %q", point)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.point, s.passage = point, max(passage, 1)
	return nil
}

// pass is called where a crash point is.
func (s *switches) pass(point string) {
	if !s.allowed {
		return
	}
	s.mu.Lock()
	hit := s.point == point
	if hit {
		s.passage--
		hit = s.passage == 0
	}
	if hit {
		s.point = ""
	}
	s.mu.Unlock()
	if hit {
		// What is allowed to leave or to be committed meanwhile shall be: the state at this point is what counts.
		time.Sleep(crashPause)
		s.die()
	}
}
