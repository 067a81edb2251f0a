package e2e

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

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

// A connector that stood still tells late of its last commit, and hands out what it has: both are the next owner's by then.
func TestNothingLeavesAfterTheLease(t *testing.T) {
	c := leased(t)
	c.begin()
	to := herPhone + "@s.whatsapp.net"
	from := c.mark()
	c.send("OUT0", to, "what has to be asked first is known after it", false)
	c.finished(from, "OUT0")
	c.received(herPhone, []string{"OUT0"})

	c.hold()
	c.send("OUT1", to, "its stanza is committed, and that is told late", false)
	c.await("the stanza in the journal", func() bool {
		for _, entry := range c.waiting {
			for _, event := range entry.Events {
				if event.GetSendStarted() != nil {
					return true
				}
			}
		}
		return false
	})
	c.lease(-time.Second)
	c.send("OUT2", to, "handed out late", false)
	c.release()
	left := func() bool { return len(c.sim.Ledger.Received(ledger.Filter{From: ourPhone, To: herPhone})) > 1 }
	if c.within(time.Second, left) { // it takes some milliseconds otherwise
		t.Fatal("it left")
	}
	c.lease(time.Minute)
	for id, n := range c.received(herPhone, []string{"OUT1", "OUT2"}) {
		if n != 1 {
			t.Errorf("%s was received %d times", id, n)
		}
	}
}

// leased is a connector that owns its sessions for a minute, and not longer than it says.
func leased(t *testing.T) *connector {
	t.Helper()
	c := newConnector(t, startSimulator(t))
	c.watch, c.leases = quick, true
	return c
}

// A login that began within the lease and would come after it is given up: a network that was cut off may take that long.
func TestALoginThatTakesLongerThanTheLeaseIsGivenUp(t *testing.T) {
	c := leased(t)
	p := startProxy(t)
	c.proxy = "http://user:secret@" + p.Addr().String()
	c.begin()
	stall := make(chan struct{})
	p.stall.Store(&stall)
	const left = 4 * time.Second
	ends := time.After(left)
	c.lease(left)
	from := c.mark()
	p.cut()
	c.awaitState(from, hostpb.SessionState_CONNECTING)
	<-ends
	if p.stalled.Load() == 0 {
		t.Fatal("it was not dialling")
	}
	from = c.mark()
	p.stall.Store(nil)
	close(stall)
	if state := c.awaitState(from, hostpb.SessionState_OFFLINE); !strings.HasPrefix(state.Reason, "connect: ") {
		t.Errorf("offline for %q", state.Reason)
	}
	c.lease(time.Minute)
	c.awaitState(from, hostpb.SessionState_ONLINE)
}

// lease tells the host that its sessions are owned for so long from now on.
func (c *connector) lease(left time.Duration) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		c.t.Fatal(err)
	}
	until := time.Duration(now.Nano()) + left
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Lease{Lease: &hostpb.Lease{UntilMs: until.Milliseconds()}}})
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

// What is committed stays until the connector has put it aside: an archive made of nothing would lose the device's keys.
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
	if _, kept := c.items["d"]; !kept {
		t.Error("the device's keys went before they were put aside")
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
