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
	"wharf/connectors/internal/sim/server"
)

const (
	ourPhone = "491700000001"
	herPhone = "491700000002"
)

var us = types.NewJID(ourPhone, types.DefaultUserServer)

func TestPairReceiveSend(t *testing.T) {
	c, her := paired(t, "")
	text, err := contacts.Text("hello", contacts.Around{})
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
	c.await("stanza gone", func() bool {
		for name := range c.items {
			if strings.HasPrefix(name, "x/") {
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
