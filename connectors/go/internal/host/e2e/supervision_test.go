package e2e

import (
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/server"
)

// quick are times that let a test wait for what takes a minute otherwise.
var quick = &hostpb.Supervision{
	KeepaliveMinMs: 300, KeepaliveMaxMs: 400, KeepaliveAnswerMs: 300, SilenceMs: 1500, LoginMs: 3000,
	PairWatchdogMs: 800, ReconnectFirstMs: 100, ReconnectMostMs: 500,
}

func (c *connector) fault(phone string, change func(*server.Faults)) {
	c.t.Helper()
	if _, err := c.sim.Server.SetFaults(phone, func(f *server.Faults) error { change(f); return nil }); err != nil {
		c.t.Fatal(err)
	}
}

func supervised(t *testing.T) (*connector, *contacts.Contact) {
	t.Helper()
	c := newConnector(t, startSimulator(t))
	c.watch = quick
	return c, c.begin()
}

func TestHalfOpenConnectionIsNoticedAndMadeAnew(t *testing.T) {
	c, her := supervised(t)
	from := c.mark()
	if n, err := c.sim.Server.Kick(ourPhone, server.Kick{Freeze: true}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	frozen := time.Now()
	if state := c.awaitState(from, hostpb.SessionState_OFFLINE); state.Reason != "silence" {
		t.Errorf("offline for %q", state.Reason)
	}
	// The limit, a look each second, and what a loaded machine takes.
	if took := time.Since(frozen); took < time.Second || took > 8*time.Second {
		t.Errorf("noticed after %v", took)
	}
	c.awaitState(from, hostpb.SessionState_ONLINE)
	her.Flood(t.Context(), contacts.Flood{To: us, Count: 3, Prefix: "IN"})
	c.exactlyOnce(contacts.Flood{Count: 3, Prefix: "IN"}.IDs())
}

func TestQuietConnectionIsNotDead(t *testing.T) {
	c, _ := supervised(t)
	from := c.mark()
	if c.within(5*time.Second, func() bool {
		for _, e := range c.events[from:] {
			if state := e.GetState(); state != nil && state.State == hostpb.SessionState_OFFLINE {
				return true
			}
		}
		return false
	}) {
		t.Error("keepalives are answered, and yet the connection was given up")
	}
}

// A reader that stands still because nothing is committed hears no keepalive answer; that is no dead network.
func TestHeldBackReaderIsNotDead(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.watch, c.unread = quick, 10
	her := c.begin()
	c.hold()
	her.StartFlood(contacts.Flood{To: us, Count: 50, Prefix: "IN"})
	time.Sleep(3 * time.Second) // twice the silence that is allowed
	from := c.mark()
	c.release()
	c.exactlyOnce(contacts.Flood{Count: 50, Prefix: "IN"}.IDs())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events[from:] {
		if state := e.GetState().GetState(); state == hostpb.SessionState_OFFLINE || state == hostpb.SessionState_DEGRADED {
			t.Errorf("told %v", e)
		}
	}
}

func TestPairingWithoutRestartIsFollowedByALogin(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.watch = quick
	c.sim.Server.CreatePhone(ourPhone, "")
	c.fault(ourPhone, func(f *server.Faults) { f.NoRestart = true })
	c.begin()
}

// A first contact needs answers of the server. They must not lie behind messages that wait for the same send.
func TestFirstContactsInAFlood(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.unread = 100
	her := c.begin()
	const flood = 3200
	phones := []string{"491700000011", "491700000012", "491700000013", "491700000014", "491700000015"}
	for _, phone := range phones {
		if _, err := c.sim.Contacts.Create(t.Context(), phone, "Stranger", false); err != nil {
			t.Fatal(err)
		}
	}
	c.fault(ourPhone, func(f *server.Faults) { f.DelayMS = 300 })
	// While one answer is on its way three times as many messages come as are read unanswered.
	her.StartFlood(contacts.Flood{To: us, Count: flood, Prefix: "IN", PerSec: 1000})
	c.await("the flood", func() bool { return len(c.textsLocked()) > 50 })
	from, began := c.mark(), time.Now()
	for _, phone := range phones {
		c.send("OUT"+phone, types.NewJID(phone, types.DefaultUserServer).String(), "hello", false)
	}
	for _, phone := range phones {
		if end := c.finished(from, "OUT"+phone); end.Outcome != hostpb.SendFinished_ACKED {
			t.Errorf("%s: %v", phone, end)
		}
	}
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("first contacts took %v", took)
	}
	c.exactlyOnce(contacts.Flood{Count: flood, Prefix: "IN"}.IDs())
	for _, phone := range phones {
		if n := c.received(phone, []string{"OUT" + phone})["OUT"+phone]; n != 1 {
			t.Errorf("%s got it %d times", phone, n)
		}
	}
}

// A send whose keys cannot be fetched must not leave without its recipient.
func TestRefusedPreKeysDelayTheSend(t *testing.T) {
	c, _ := supervised(t)
	c.fault(ourPhone, func(f *server.Faults) { f.QueryLimit, f.QueryLimitOnly = 2, "encrypt" })
	seen := map[hostpb.SendFinished_Outcome]int{}
	for try := 0; ; try++ {
		from := c.mark()
		c.send("OUT1", herPhone+"@s.whatsapp.net", "hello", false)
		end := c.finished(from, "OUT1")
		seen[end.Outcome]++
		if end.Outcome == hostpb.SendFinished_ACKED {
			break
		}
		if end.Outcome != hostpb.SendFinished_NOT_SENT || try == 5 {
			t.Fatalf("%v", end)
		}
	}
	if seen[hostpb.SendFinished_NOT_SENT] == 0 {
		t.Error("no query was refused")
	}
	if n := c.received(herPhone, []string{"OUT1"})["OUT1"]; n != 1 {
		t.Errorf("received %d times", n)
	}
}

func TestMissingOfflineMessagesAreAGap(t *testing.T) {
	c, her := supervised(t)
	c.fault(ourPhone, func(f *server.Faults) { f.HoldDelivery = true })
	her.Flood(t.Context(), contacts.Flood{To: us, Count: 5, Prefix: "IN"})
	from := c.mark()
	if _, err := c.sim.Server.Kick(ourPhone, server.Kick{Hard: true}); err != nil {
		t.Fatal(err)
	}
	c.fault(ourPhone, func(f *server.Faults) { f.HoldDelivery, f.LoseOffline = false, 2 })
	gap := c.awaitState(from, hostpb.SessionState_GAP)
	if gap.Reason != "offline_queue" || gap.Counts["announced"] != 5 || gap.Counts["received"] != 3 {
		t.Errorf("%v", gap)
	}
}

func TestTimelockIsTold(t *testing.T) {
	c, _ := supervised(t)
	from := c.mark()
	if n, err := c.sim.Server.Timelock(ourPhone, server.Timelock{Active: true, Type: "RESTRICT_NEW_CHATS", EndsS: 3600}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	notice := c.awaitEvent("the notice", from, func(e *hostpb.Event) bool { return e.GetLimit() != nil }).GetLimit()
	until := time.UnixMilli(notice.UntilMs)
	if notice.Kind != "timelock" || !notice.Active || notice.Reason != "RESTRICT_NEW_CHATS" || time.Until(until) < 58*time.Minute {
		t.Errorf("%v", notice)
	}
}

// The plaintext of what was sent is part of the state: a host that was killed answers a retry receipt all the same.
func TestRetryIsAnsweredAfterARestart(t *testing.T) {
	c, _ := supervised(t)
	c.fault(herPhone, func(f *server.Faults) { f.HoldDelivery, f.Corrupt = true, 1 })
	from := c.mark()
	c.send("OUT1", herPhone+"@s.whatsapp.net", "hello", false)
	if end := c.finished(from, "OUT1"); end.Outcome != hostpb.SendFinished_ACKED {
		t.Fatal(end)
	}
	from = c.mark()
	c.restart()
	c.awaitState(from, hostpb.SessionState_ONLINE)
	c.fault(herPhone, func(f *server.Faults) { f.HoldDelivery = false })
	if n := c.received(herPhone, []string{"OUT1"})["OUT1"]; n != 1 {
		t.Errorf("received %d times", n)
	}
}

// The session's traffic goes through its proxy, and nowhere else when the proxy refuses.
func TestConnectsThroughItsProxy(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.watch = quick
	p := startProxy(t)
	c.proxy = "http://user:secret@" + p.Addr().String()
	her := c.begin()
	her.Flood(t.Context(), contacts.Flood{To: us, Count: 3, Prefix: "IN"})
	c.exactlyOnce(contacts.Flood{Count: 3, Prefix: "IN"}.IDs())
	if n := p.tunnels.Load(); n < 2 { // pairing and login
		t.Errorf("%d tunnels", n)
	}
	from := c.mark()
	p.refuse.Store(true)
	p.cut()
	c.awaitState(from, hostpb.SessionState_OFFLINE)
	c.awaitEvent("the refusal", from, func(e *hostpb.Event) bool {
		reason := e.GetState().GetReason()
		return strings.Contains(reason, "403") && strings.Contains(reason, "proxy") && !strings.Contains(reason, "secret")
	})
	p.refuse.Store(false)
	c.awaitState(from, hostpb.SessionState_ONLINE)
}
