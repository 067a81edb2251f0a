package e2e

import (
	"testing"
	"time"

	"wharf/connectors/internal/hostpb"
)

// codeFor asks for a pairing code to be typed.
func (c *connector) codeFor(command string) string {
	c.t.Helper()
	from := c.mark()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Pair{Pair: &hostpb.Pair{Session: c.session, CommandId: command, Phone: ourPhone}}})
	return c.awaitEvent("a code for "+command, from, func(e *hostpb.Event) bool {
		return e.GetPairingCode().GetCommandId() == command
	}).GetPairingCode().Code
}

// A code that nobody typed runs out, is not accepted any more, and the next one is.
func TestPairingCodeRunsOut(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.sim.Server.CreatePhone(ourPhone, "Us")
	c.typing = 300 * time.Millisecond
	c.start()
	c.open()
	c.awaitState(0, hostpb.SessionState_UNPAIRED)
	code := c.codeFor("first")
	if failed := c.awaitState(0, hostpb.SessionState_PAIR_FAILED); failed.Reason != "code_expired" || failed.CommandId != "first" {
		t.Errorf("%v", failed)
	}
	if jid, err := c.sim.Server.EnterCode(t.Context(), ourPhone, code); err == nil {
		t.Errorf("an old code paired %v", jid)
	}
	c.kill()
	c.typing = 0
	c.restart()
	c.pair(ourPhone)
}

// Each of many pair commands in a row voids the one before; only the last one's code is good.
func TestNewerPairingVoidsTheOlder(t *testing.T) {
	c := newConnector(t, startSimulator(t))
	c.sim.Server.CreatePhone(ourPhone, "Us")
	c.start()
	c.open()
	c.awaitState(0, hostpb.SessionState_UNPAIRED)
	var codes []string
	for range 8 {
		codes = append(codes, c.codeFor("again"))
	}
	c.mu.Lock()
	for _, e := range c.events {
		if s := e.GetState(); s.GetState() == hostpb.SessionState_PAIR_FAILED {
			t.Errorf("the end of an older attempt ended a newer one: %v", s)
		}
	}
	c.mu.Unlock()
	if _, err := c.sim.Server.EnterCode(t.Context(), ourPhone, codes[0]); err == nil {
		t.Error("a voided code was taken")
	}
	c.pair(ourPhone)
}

// The log is slow right after the scan: the frame that confirms the pairing waits for longer than the watchdog does. A login
// in that time would be refused, and the phone would have to be paired again.
func TestPairingWaitsForTheLog(t *testing.T) {
	const watchdog = 100 * time.Millisecond
	c := newConnector(t, startSimulator(t))
	c.sim.Server.CreatePhone(ourPhone, "Us")
	c.watch = &hostpb.Supervision{PairWatchdogMs: uint32(watchdog.Milliseconds())}
	c.start()
	c.open()
	c.awaitState(0, hostpb.SessionState_UNPAIRED)
	from := c.mark()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Pair{Pair: &hostpb.Pair{Session: c.session, CommandId: "pair"}}})
	code := c.awaitEvent("a QR code", from, func(e *hostpb.Event) bool { return e.GetPairingCode() != nil }).GetPairingCode()
	c.hold()
	scanned := make(chan error, 1)
	go func() {
		_, err := c.sim.Server.Scan(t.Context(), ourPhone, code.QrCodes[0])
		scanned <- err
	}()
	c.await("the pairing, not committed", func() bool { return c.waits(hostpb.SessionState_PAIRED) })
	if c.within(10*watchdog, func() bool { return c.waits(hostpb.SessionState_LOGGED_OUT) }) {
		t.Error("logged out while the pairing was not confirmed")
	}
	c.release()
	if err := <-scanned; err != nil {
		t.Error(err)
	}
	c.awaitState(from, hostpb.SessionState_ONLINE)
}

// waits tells whether such a state is in what is not committed; c.mu is held.
func (c *connector) waits(state hostpb.SessionState_State) bool {
	for _, entry := range c.waiting {
		for _, e := range entry.Events {
			if s := e.GetState(); s != nil && s.State == state {
				return true
			}
		}
	}
	return false
}
