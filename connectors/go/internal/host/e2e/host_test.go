package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

const (
	ourPhone = "491700000001"
	herPhone = "491700000002"
)

var us = types.NewJID(ourPhone, types.DefaultUserServer)

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

func TestPairReceiveSend(t *testing.T) {
	c, her := paired(t, "")
	text, err := contacts.Text("hello", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := her.Send(t.Context(), us, "IN1", text); err != nil {
		t.Fatal(err)
	}
	m := c.awaitEvent("the message", 0, func(e *hostpb.Event) bool { return e.GetMessage() != nil }).GetMessage()
	if m.Content.Type != "text" || m.Content.GetText() != "hello" || m.Sender.GetPn() != herPhone+"@s.whatsapp.net" || m.Sender.GetLid() == "" || m.ChatKind != "user" {
		t.Errorf("message %v", m)
	}
	from := c.mark()
	c.send("OUT1", herPhone+"@s.whatsapp.net", "hi", false)
	started := c.awaitEvent("SendStarted", from, func(e *hostpb.Event) bool { return e.GetSendStarted() != nil }).GetSendStarted()
	if !strings.HasSuffix(started.Chat, "@lid") || started.MessageId != "OUT1" || started.Recipient.GetPn() == "" {
		t.Errorf("started %v", started)
	}
	if f := c.finished(from, "OUT1"); f.Outcome != hostpb.SendFinished_ACKED || f.ServerTimeMs == 0 || f.Chat != started.Chat {
		t.Errorf("finished %v", f)
	}
	if n := c.received(herPhone, []string{"OUT1"})["OUT1"]; n != 1 {
		t.Errorf("received %d times", n)
	}
	c.awaitEvent("the receipt", from, func(e *hostpb.Event) bool {
		return e.GetReceipt() != nil && e.GetReceipt().MessageIds[0] == "OUT1" && !e.GetReceipt().FromMe
	})
	c.await("stanza and retry plaintext gone", func() bool {
		for name := range c.items {
			if strings.HasPrefix(name, "x/") || strings.HasPrefix(name, "o/") {
				return false
			}
		}
		return true
	})
	from = c.mark()
	c.send("OUT2", "999@s.whatsapp.net", "hi", false)
	if f := c.finished(from, "OUT2"); f.Outcome != hostpb.SendFinished_REJECTED || f.ErrorKind != "not_on_whatsapp" {
		t.Errorf("unknown number: %v", f)
	}
	c.send("OUT3", herPhone+"@s.whatsapp.net", "", false)
	if f := c.finished(from, "OUT3"); f.Outcome != hostpb.SendFinished_REJECTED || f.ErrorKind != "invalid" {
		t.Errorf("empty text: %v", f)
	}
}

func TestPairByCode(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.sim.Server.CreatePhone(ourPhone, "Us")
	c.start()
	c.open()
	c.awaitState(0, hostpb.SessionState_UNPAIRED)
	c.pair(ourPhone)
}

// problems tells what is wrong with the log after a flood: messages that are missing for a while, or doubled.
func (c *connector) problems(ids []string, wait time.Duration) (out []string) {
	c.within(wait, func() bool { return missing(c.textsLocked(), ids) == 0 })
	got := c.texts()
	if n := missing(got, ids); n > 0 {
		out = append(out, fmt.Sprintf("%d of %d messages lost", n, len(ids)))
	}
	for id, n := range got {
		if n > 1 {
			out = append(out, fmt.Sprintf("%s is in the log %d times", id, n))
		}
	}
	return out
}

func missing(got map[string]int, ids []string) (n int) {
	for _, id := range ids {
		if got[id] == 0 {
			n++
		}
	}
	return n
}

// A kill at every point of a received message: nothing lost, nothing doubled.
func TestKillReceiving(t *testing.T) {
	for _, point := range []string{"after_ratchet", "before_journal", "after_durable"} {
		t.Run(point, func(t *testing.T) {
			c, her := paired(t, "")
			flood := contacts.Flood{To: us, Count: 60, Prefix: "IN"}
			her.StartFlood(flood)
			c.await("some messages", func() bool { return len(c.textsLocked()) > 0 })
			for range 3 {
				c.crashAt(point, uint32(3+rand.IntN(5)))
				if waitDeath(c, 3*time.Second) {
					c.restart()
				}
			}
			c.exactlyOnce(flood.IDs())
		})
	}
}

// waitDeath tells whether the process died; with all messages through it may not reach the point any more.
func waitDeath(c *connector, d time.Duration) bool {
	select {
	case <-c.gone:
		return true
	case <-time.After(d):
		return false
	}
}

func TestKillAnywhere(t *testing.T) {
	c, her := paired(t, "")
	flood := contacts.Flood{To: us, Count: 150, Prefix: "IN", PerSec: 60}
	her.StartFlood(flood)
	for range 5 {
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond) // the moment of a kill is random, nothing waits for it
		c.restart()
	}
	c.exactlyOnce(flood.IDs())
}

// Commits fail for good: sessions are closed with uncommitted state and opened from the committed one.
func TestFailedCommits(t *testing.T) {
	c, her := paired(t, "")
	flood := contacts.Flood{To: us, Count: 120, Prefix: "IN", PerSec: 100}
	her.StartFlood(flood)
	for range 4 {
		have := len(c.texts())
		c.await("more messages", func() bool { return len(c.textsLocked()) >= min(have+5, 110) })
		c.hold()
		c.await("uncommitted entries", func() bool { return len(c.waiting) > 0 || len(c.textsLocked()) >= 110 })
		c.reopen()
	}
	c.exactlyOnce(flood.IDs())
}

func TestUndecryptable(t *testing.T) {
	c, her := paired(t, "")
	first := contacts.Flood{To: us, Count: 3, Prefix: "INa"}
	her.Flood(t.Context(), first)
	c.exactlyOnce(first.IDs())
	if _, err := c.sim.Server.SetFaults(ourPhone, func(f *server.Faults) error { f.Corrupt = 1; return nil }); err != nil {
		t.Fatal(err)
	}
	c.crashAt("after_undecryptable_ack", 1)
	second := contacts.Flood{To: us, Count: 3, Prefix: "INb"}
	her.StartFlood(second)
	c.died()
	c.restart()
	u := c.awaitEvent("the undecryptable message", 0, func(e *hostpb.Event) bool { return e.GetUndecryptable() != nil }).GetUndecryptable()
	if u.Reason != "decrypt_failed" || u.Key.Id != "INb000000" {
		t.Errorf("undecryptable %v", u)
	}
	c.exactlyOnce(second.IDs())
}

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

// The connection breaks while acks are held: they are dropped, the messages come again and are known.
func TestReconnectWhileHeld(t *testing.T) {
	c, her := paired(t, "")
	c.hold()
	flood := contacts.Flood{To: us, Count: 10, Prefix: "IN"}
	her.Flood(t.Context(), flood)
	c.await("entries", func() bool { return len(c.waiting) > 0 })
	from := c.mark()
	if _, err := c.sim.Server.Kick(ourPhone, server.Kick{Hard: true}); err != nil {
		t.Fatal(err)
	}
	c.await("the loss of the connection", func() bool {
		for _, e := range c.waiting {
			for _, ev := range e.Events {
				if ev.GetState().GetState() == hostpb.SessionState_OFFLINE {
					return true
				}
			}
		}
		return false
	})
	c.release()
	c.awaitState(from, hostpb.SessionState_ONLINE)
	c.exactlyOnce(flood.IDs())
	deadline := time.Now().Add(patience)
	for {
		view, err := c.sim.Server.Phone(ourPhone)
		if err != nil {
			t.Fatal(err)
		}
		queued := 0
		for _, d := range view.Devices {
			if d.Device != 0 {
				queued += d.Queue
			}
		}
		if queued == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d stanzas were never acknowledged", queued)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestReplacedAndLoggedOut(t *testing.T) {
	for name, tc := range map[string]struct {
		kick   server.Kick
		state  hostpb.SessionState_State
		reason string
	}{
		"replaced":       {server.Kick{Conflict: "replaced"}, hostpb.SessionState_REPLACED, "replaced"},
		"device_removed": {server.Kick{Remove: true}, hostpb.SessionState_LOGGED_OUT, "logged_out"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := paired(t, "")
			from := c.mark()
			tc.kick.Device = c.device()
			if _, err := c.sim.Server.Kick(ourPhone, tc.kick); err != nil {
				t.Fatal(err)
			}
			c.awaitState(from, tc.state)
			c.await("SessionClosed", func() bool { return len(c.closed) == 1 })
			if cl := c.closed[0]; cl.MayReopen || cl.Reason != tc.reason {
				t.Errorf("closed %v", cl)
			}
			if !c.committed("d") {
				t.Error("the device's items are gone before the connector decided")
			}
		})
	}
}

func (c *connector) device() uint16 {
	c.t.Helper()
	view, err := c.sim.Server.Phone(ourPhone)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, d := range view.Devices {
		if d.Device != 0 {
			return d.Device
		}
	}
	c.t.Fatal("no companion")
	return 0
}

func TestRefusedLogins(t *testing.T) {
	c, _ := paired(t, "")
	if err := c.sim.Server.FailLogins(ourPhone, server.Failure{Reason: 402, Code: 101, ExpireS: 1, Times: 1}); err != nil {
		t.Fatal(err)
	}
	from := c.mark()
	c.restart()
	if b := c.awaitState(from, hostpb.SessionState_BANNED); b.ReasonCode != 101 || b.ExpiresAtMs == 0 {
		t.Errorf("banned %v", b)
	}
	if err := c.sim.Server.FailLogins(ourPhone, server.Failure{Reason: 401, Times: 1}); err != nil {
		t.Fatal(err)
	}
	from = c.mark()
	c.restart()
	if l := c.awaitState(from, hostpb.SessionState_LOGGED_OUT); l.ReasonCode != 401 {
		t.Errorf("logged out %v", l)
	}
}

func TestLogout(t *testing.T) {
	c, _ := paired(t, "")
	from := c.mark()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Logout{Logout: &hostpb.Logout{Session: c.session, CommandId: "bye"}}})
	if l := c.awaitState(from, hostpb.SessionState_LOGGED_OUT); l.CommandId != "bye" {
		t.Errorf("logged out %v", l)
	}
	c.await("SessionClosed", func() bool { return len(c.closed) == 1 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) != 0 {
		t.Errorf("%d items are left", len(c.items))
	}
}

// The connector is gone: the host ends by itself.
func TestConnectorGone(t *testing.T) {
	c, _ := paired(t, "")
	c.conn.Close()
	select {
	case <-c.gone:
	case <-time.After(patience):
		t.Fatal("the host lives on")
	}
}

// A session of the wrong kind is refused.
func TestSimulatorOnly(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.start()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: 7, InstanceId: "real"}}})
	c.await("the refusal", func() bool { return len(c.closed) == 1 })
	if c.closed[0].Reason != "simulator_only" || c.closed[0].Session != 7 {
		t.Errorf("closed %v", c.closed[0])
	}
}

func TestDuplicates(t *testing.T) {
	c, her := paired(t, "")
	if _, err := c.sim.Server.SetFaults(ourPhone, func(f *server.Faults) error { f.Duplicate = 5; return nil }); err != nil {
		t.Fatal(err)
	}
	flood := contacts.Flood{To: us, Count: 10, Prefix: "IN"}
	if failed := her.Flood(context.WithoutCancel(t.Context()), flood); failed != 0 {
		t.Fatalf("%d failed", failed)
	}
	c.exactlyOnce(flood.IDs())
}

// Reading stops while too much is not committed, and goes on after the connection was lost meanwhile.
func TestReadingStops(t *testing.T) {
	const limit, count = 20, 200
	c := newConnector(t, startSimulator(t))
	c.unread = limit
	her := c.begin()
	c.hold()
	flood := contacts.Flood{To: us, Count: count, Prefix: "IN"}
	her.Flood(t.Context(), flood)
	held := func() (n int) {
		for _, e := range c.waiting {
			for _, ev := range e.Events {
				if ev.GetMessage() != nil {
					n++
				}
			}
		}
		return n
	}
	c.await("as many messages as may be read", func() bool { return held() >= limit-2 })
	if c.within(time.Second, func() bool { return held() > limit }) {
		t.Errorf("more than %d messages were read", limit)
	}
	if _, err := c.sim.Server.Kick(ourPhone, server.Kick{Hard: true}); err != nil {
		t.Fatal(err)
	}
	c.release()
	c.exactlyOnce(flood.IDs())
}

func TestTermination(t *testing.T) {
	c, _ := paired(t, "")
	if err := c.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !waitDeath(c, 5*time.Second) {
		t.Fatal("the host does not stop")
	}
	if c.exit != nil {
		t.Errorf("exit: %v", c.exit)
	}
}
