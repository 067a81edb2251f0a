package e2e

import (
	"strings"
	"testing"
	"time"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
)

// paired is a connector with a paired, online session, and a contact.
func paired(t *testing.T, mutant string) (*connector, *contacts.Contact) {
	t.Helper()
	c := newConnector(t, startSimulator(t))
	c.mutant = mutant
	return c, c.begin()
}

// begin starts the host, pairs, and gives a contact.
func (c *connector) begin() *contacts.Contact {
	t := c.t
	t.Helper()
	her, err := c.sim.Contacts.Create(t.Context(), herPhone, "Her", false)
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	c.open()
	c.awaitState(0, hostpb.SessionState_UNPAIRED)
	c.pair("")
	return her
}

func (c *connector) pair(phone string) {
	c.t.Helper()
	from := c.mark()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Pair{Pair: &hostpb.Pair{Session: c.session, CommandId: "pair", Phone: phone}}})
	code := c.awaitEvent("a pairing code", from, func(e *hostpb.Event) bool { return e.GetPairingCode() != nil }).GetPairingCode()
	var err error
	if phone == "" {
		if code.Total != 6 || code.Index != 1 || len(code.QrCodes) != 6 || code.ExpiresAtMs == 0 {
			c.t.Errorf("pairing code %v", code)
		}
		_, err = c.sim.Server.Scan(c.t.Context(), ourPhone, code.QrCodes[0])
	} else {
		_, err = c.sim.Server.EnterCode(c.t.Context(), ourPhone, code.Code)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if p := c.awaitState(from, hostpb.SessionState_PAIRED); p.CommandId != "pair" || p.Self.GetPn() != us.String() {
		c.t.Errorf("paired %v", p)
	}
	c.awaitState(from, hostpb.SessionState_ONLINE)
}

func (c *connector) send(id, to, text string, resume bool) {
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Send{Send: &hostpb.Send{
		Session: c.session, CommandId: "c-" + id, MessageId: id, To: to, Resume: resume,
		Content: &hostpb.OutgoingContent{Type: "text", Text: text},
	}}})
}

func (c *connector) finished(from int, id string) *hostpb.SendFinished {
	c.t.Helper()
	return c.awaitEvent("the end of "+id, from, func(e *hostpb.Event) bool {
		return e.GetSendFinished() != nil && e.GetSendFinished().MessageId == id
	}).GetSendFinished()
}

func (c *connector) committed(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.items[name]
	return ok
}

// received waits until the recipients have at least the given ids, then tells how often they had each.
func (c *connector) received(to string, ids []string) map[string]int {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		counts := map[string]int{}
		for _, r := range c.sim.Ledger.Received(ledger.Filter{From: ourPhone, To: to}) {
			counts[r.ID]++
		}
		missing := 0
		for _, id := range ids {
			if counts[id] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return counts
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s did not get %d of %d messages", to, missing, len(ids))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// exactlyOnce: every id in the log once, no other, no more.
func (c *connector) exactlyOnce(ids []string) {
	c.t.Helper()
	c.await("all messages in the log", func() bool {
		got := c.textsLocked()
		for _, id := range ids {
			if got[id] == 0 {
				return false
			}
		}
		return true
	})
	for id, n := range c.texts() {
		if n != 1 && strings.HasPrefix(id, "IN") {
			c.t.Errorf("message %s is in the log %d times", id, n)
		}
	}
}
