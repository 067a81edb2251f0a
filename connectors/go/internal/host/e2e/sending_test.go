package e2e

import (
	"fmt"
	"testing"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/server"
)

// Killed between the committed stanza and the ack, the same bytes go out again: the recipient has the message once.
func TestKillSending(t *testing.T) {
	for _, point := range []string{"after_sending", "after_wire"} {
		t.Run(point, func(t *testing.T) {
			c, _ := paired(t, "")
			from := c.mark()
			c.send("OUT0", herPhone+"@s.whatsapp.net", "before", false)
			c.finished(from, "OUT0")
			c.crashAt(point, 1)
			c.send("OUT1", herPhone+"@s.whatsapp.net", "interrupted", false)
			c.died()
			if !c.committed("x/OUT1") {
				t.Fatal("no committed stanza")
			}
			from = c.mark()
			c.restart()
			c.awaitState(from, hostpb.SessionState_ONLINE)
			c.send("OUT1", herPhone+"@s.whatsapp.net", "interrupted", true)
			c.send("OUT2", herPhone+"@s.whatsapp.net", "after", false)
			for _, id := range []string{"OUT1", "OUT2"} {
				if f := c.finished(from, id); f.Outcome != hostpb.SendFinished_ACKED {
					t.Errorf("%s: %v", id, f)
				}
			}
			if counts := c.received(herPhone, []string{"OUT0", "OUT1", "OUT2"}); counts["OUT1"] != 1 || counts["OUT2"] != 1 {
				t.Errorf("received %v", counts)
			}
			if c.committed("x/OUT1") {
				t.Error("the stanza was kept after its ack")
			}
		})
	}
}

func TestNoAckThenResume(t *testing.T) {
	c, _ := paired(t, "")
	hold := func(on bool) {
		if _, err := c.sim.Server.SetFaults(ourPhone, func(f *server.Faults) error { f.HoldAck = on; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	from := c.mark()
	c.send("OUT1", herPhone+"@s.whatsapp.net", "held", false)
	if f := c.finished(from, "OUT1"); f.Outcome != hostpb.SendFinished_NO_ACK {
		t.Fatalf("held: %v", f)
	}
	if !c.committed("x/OUT1") {
		t.Fatal("the stanza was not kept")
	}
	hold(false)
	from = c.mark()
	// Not marked as a resume: the committed stanza decides.
	c.send("OUT1", herPhone+"@s.whatsapp.net", "held", false)
	if f := c.finished(from, "OUT1"); f.Outcome != hostpb.SendFinished_ACKED {
		t.Fatalf("resumed: %v", f)
	}
	if n := c.received(herPhone, []string{"OUT1"})["OUT1"]; n != 1 {
		t.Errorf("received %d times", n)
	}
}

func TestAckError(t *testing.T) {
	c, _ := paired(t, "")
	if _, err := c.sim.Server.SetFaults(ourPhone, func(f *server.Faults) error {
		f.AckError = &server.AckError{Code: 463, N: 1}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	from := c.mark()
	c.send("OUT1", herPhone+"@s.whatsapp.net", "refused", false)
	if f := c.finished(from, "OUT1"); f.Outcome != hostpb.SendFinished_REJECTED || f.ErrorCode != 463 || f.ErrorKind != "server" {
		t.Errorf("refused: %v", f)
	}
	if c.committed("x/OUT1") {
		t.Error("the stanza of a refused message was kept")
	}
}

// Both directions at once over one Signal session.
func TestFullDuplex(t *testing.T) {
	c, her := paired(t, "")
	flood := contacts.Flood{To: us, Count: 150, Prefix: "IN"}
	her.StartFlood(flood)
	var ids []string
	for i := range 100 {
		id := fmt.Sprintf("OUT%03d", i)
		ids = append(ids, id)
		c.send(id, herPhone+"@s.whatsapp.net", "text of "+id, false)
	}
	c.exactlyOnce(flood.IDs())
	counts := c.received(herPhone, ids)
	for _, id := range ids {
		if counts[id] != 1 {
			t.Errorf("%s was received %d times", id, counts[id])
		}
	}
}
