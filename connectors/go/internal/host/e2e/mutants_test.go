package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

// Each mutant switches one mechanism off; its scenario must then find something wrong, and nothing without it.

// settled is how long a scenario waits for what should have come.
const settled = 6 * time.Second

var scenarios = []struct {
	mutant string
	run    func(t *testing.T, c *connector, her *contacts.Contact) []string
}{
	{"no-output-gate", lostUndecryptable},
	{"no-output-gate", lostUncommitted},
	{"cut-open", killedWhileOpen},
	{"re-encrypt", interruptedSend},
	{"no-teardown", failedCommit},
	{"no-ratchet-lock", fullDuplex},
}

func TestMutants(t *testing.T) {
	for i, s := range scenarios {
		for _, mutant := range []string{"", s.mutant} {
			name := mutant
			if mutant == "" {
				name = "unchanged"
			}
			t.Run(fmt.Sprintf("%d-%s", i, name), func(t *testing.T) {
				c, her := paired(t, mutant)
				found := s.run(t, c, her)
				if mutant == "" && len(found) > 0 {
					t.Errorf("found without a mutant: %s", strings.Join(found, "; "))
				}
				if mutant != "" && len(found) == 0 {
					t.Errorf("%s was not found", mutant)
				}
				t.Logf("found: %s", strings.Join(found, "; "))
			})
		}
	}
}

// Killed between the ack of an undecryptable message and its event.
func lostUndecryptable(t *testing.T, c *connector, her *contacts.Contact) []string {
	first := contacts.Flood{To: us, Count: 2, Prefix: "INa"}
	her.Flood(t.Context(), first)
	c.exactlyOnce(first.IDs())
	if _, err := c.sim.Server.SetFaults(ourPhone, func(f *server.Faults) error { f.Corrupt = 1; return nil }); err != nil {
		t.Fatal(err)
	}
	c.crashAt("after_undecryptable_ack", 1)
	her.StartFlood(contacts.Flood{To: us, Count: 1, Prefix: "INb"})
	c.died()
	c.restart()
	if !c.within(settled, func() bool {
		for _, e := range c.events {
			if e.GetUndecryptable() != nil {
				return true
			}
		}
		return false
	}) {
		return []string{"the undecryptable message is not in the log"}
	}
	return nil
}

// awaitHeld waits until as many messages are in entries that are not committed.
func (c *connector) awaitHeld(messages int) {
	c.t.Helper()
	c.await("uncommitted messages", func() bool {
		n := 0
		for _, e := range c.waiting {
			for _, ev := range e.Events {
				if ev.GetMessage() != nil {
					n++
				}
			}
		}
		return n == messages
	})
}

// Killed while received messages are not committed yet.
func lostUncommitted(t *testing.T, c *connector, her *contacts.Contact) []string {
	c.hold()
	flood := contacts.Flood{To: us, Count: 5, Prefix: "IN"}
	her.Flood(t.Context(), flood)
	c.awaitHeld(flood.Count)
	c.restart()
	return c.problems(flood.IDs(), settled)
}

// Killed between a ratchet step and its event, while something else wants an entry.
func killedWhileOpen(t *testing.T, c *connector, her *contacts.Contact) []string {
	first := contacts.Flood{To: us, Count: 2, Prefix: "INa"}
	her.Flood(t.Context(), first)
	c.exactlyOnce(first.IDs())
	c.crashAt("after_ratchet", 1)
	second := contacts.Flood{To: us, Count: 1, Prefix: "INb"}
	her.StartFlood(second)
	c.died()
	c.restart()
	return c.problems(second.IDs(), settled)
}

// Killed between the wire and the ack.
func interruptedSend(t *testing.T, c *connector, _ *contacts.Contact) []string {
	from := c.mark()
	c.send("OUT0", herPhone+"@s.whatsapp.net", "before", false)
	c.finished(from, "OUT0")
	c.crashAt("after_wire", 1)
	c.send("OUT1", herPhone+"@s.whatsapp.net", "interrupted", false)
	c.died()
	from = c.mark()
	c.restart()
	c.awaitState(from, hostpb.SessionState_ONLINE)
	c.send("OUT1", herPhone+"@s.whatsapp.net", "interrupted", true)
	c.finished(from, "OUT1")
	c.send("OUT2", herPhone+"@s.whatsapp.net", "after", false)
	c.finished(from, "OUT2")
	if n := c.received(herPhone, []string{"OUT1", "OUT2"})["OUT1"]; n != 1 {
		return []string{fmt.Sprintf("received %d times", n)}
	}
	return nil
}

// A commit fails for good, the session is opened again.
func failedCommit(t *testing.T, c *connector, her *contacts.Contact) []string {
	c.hold()
	flood := contacts.Flood{To: us, Count: 5, Prefix: "IN"}
	her.Flood(t.Context(), flood)
	c.awaitHeld(flood.Count)
	c.reopen()
	return c.problems(flood.IDs(), settled)
}

// Both directions at once over one Signal session. Whether they meet in it is a matter of chance: several rounds.
func fullDuplex(_ *testing.T, c *connector, her *contacts.Contact) (found []string) {
	for round := range 4 {
		if found = duplexRound(c, her, round); len(found) > 0 {
			break
		}
	}
	return found
}

func duplexRound(c *connector, her *contacts.Contact, round int) (found []string) {
	flood := contacts.Flood{To: us, Count: 400, Prefix: fmt.Sprintf("IN%d-", round)}
	her.StartFlood(flood)
	from := c.mark()
	var ids []string
	for i := range 300 {
		id := fmt.Sprintf("OUT%d-%03d", round, i)
		ids = append(ids, id)
		c.send(id, herPhone+"@s.whatsapp.net", "text of "+id, false)
	}
	found = c.problems(flood.IDs(), 3*settled)
	c.within(3*settled, func() bool {
		n := 0
		for _, e := range c.events[from:] {
			if e.GetSendFinished() != nil {
				n++
			}
		}
		return n == len(ids)
	})
	counts := map[string]int{}
	for deadline := time.Now().Add(settled); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		clear(counts)
		for _, r := range c.sim.Ledger.Received(ledger.Filter{From: ourPhone, To: herPhone}) {
			counts[r.ID]++
		}
		if missing(counts, ids) == 0 {
			break
		}
	}
	if n := missing(counts, ids); n > 0 {
		found = append(found, fmt.Sprintf("%d of %d sends lost", n, len(ids)))
	}
	for id, n := range counts {
		if n > 1 {
			found = append(found, fmt.Sprintf("%s received %d times", id, n))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if u := e.GetUndecryptable(); u != nil {
			found = append(found, "undecryptable "+u.Key.Id)
		}
	}
	return found
}
