package host

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/hostpb"
)

// Liveness of a connection: what counts is that something was received, be it traffic or the answer to a keepalive. An
// open socket proves nothing. A connection on which nothing came for `silence`, while the session was reading, is given
// up and made anew.

// supervision holds the times of Hello.supervision.
type supervision struct {
	silence        time.Duration
	login          time.Duration
	pairWatchdog   time.Duration
	reconnectFirst time.Duration
	reconnectMost  time.Duration
}

var defaultSupervision = supervision{
	silence: time.Minute, login: 30 * time.Second, pairWatchdog: 5 * time.Second,
	reconnectFirst: time.Second, reconnectMost: 2 * time.Minute,
}

func (v *supervision) take(in *hostpb.Supervision) error {
	if in == nil {
		return nil
	}
	for _, each := range []struct {
		into *time.Duration
		ms   uint32
	}{
		{&v.silence, in.SilenceMs}, {&v.login, in.LoginMs}, {&v.pairWatchdog, in.PairWatchdogMs},
		{&v.reconnectFirst, in.ReconnectFirstMs}, {&v.reconnectMost, in.ReconnectMostMs},
		// whatsmeow keeps these for the whole process; no session is open yet.
		{&whatsmeow.KeepAliveIntervalMin, in.KeepaliveMinMs}, {&whatsmeow.KeepAliveIntervalMax, in.KeepaliveMaxMs},
		{&whatsmeow.KeepAliveResponseDeadline, in.KeepaliveAnswerMs},
	} {
		if each.ms != 0 {
			*each.into = time.Duration(each.ms) * time.Millisecond
		}
	}
	if whatsmeow.KeepAliveIntervalMax <= whatsmeow.KeepAliveIntervalMin {
		return errors.New("supervision: keepalive_max_ms must be above keepalive_min_ms")
	}
	if v.silence <= whatsmeow.KeepAliveIntervalMax {
		return errors.New("supervision: silence_ms must be above keepalive_max_ms, or a quiet connection counts as dead")
	}
	return nil
}

// pulse is when a connection last showed life. The clock is the monotonic one: a stepped wall clock kills no connection.
type pulse struct {
	start   time.Time
	last    atomic.Int64 // nanoseconds after start
	refused atomic.Int32 // code of a failure or stream error that whatsmeow keeps to itself
	faint   atomic.Bool  // a keepalive was not answered and nothing has come since
}

func (p *pulse) beat() { p.last.Store(int64(time.Since(p.start))) }

func (p *pulse) silent() time.Duration { return time.Since(p.start) - time.Duration(p.last.Load()) }

// heard notes a received node and the refusals among them: of 500 and 503 whatsmeow says nothing but "disconnected".
func (s *session) heard(node *waBinary.Node) {
	s.pulse.beat()
	switch node.Tag {
	case "failure":
		s.pulse.refused.Store(number(attr(node, "reason")))
	case "stream:error":
		s.pulse.refused.Store(number(attr(node, "code")))
	}
}

// offlineState tells a lost connection, with the code that preceded it if there was one.
func (s *session) offlineState(reason string) *hostpb.SessionState {
	code := s.pulse.refused.Swap(0)
	if code != 0 {
		reason = fmt.Sprintf("refused with %d", code)
	}
	return &hostpb.SessionState{State: hostpb.SessionState_OFFLINE, Reason: reason, ReasonCode: code}
}

// checkPulse gives up a connection that is silent. A reader that waits for room hears nothing by its own fault.
func (s *session) checkPulse() {
	if !s.online.Load() {
		return
	}
	if s.flow.waits() {
		s.pulse.beat()
		return
	}
	if silent := s.pulse.silent(); silent > s.host.limits.supervision.silence && s.online.CompareAndSwap(true, false) {
		s.log.Warn("nothing received, the connection counts as dead", "for", silent.String())
		s.pulse.refused.Store(0)
		s.state(s.offlineState("silence"))
		go func() {
			s.hangUp()
			s.lostConnection(loginEnd{err: errSilent})
		}()
	}
}

var errSilent = errors.New("nothing received for too long")

// keepAliveLost tells that a keepalive was not answered, unless other traffic shows that the connection lives.
func (s *session) keepAliveLost(errorCount int) {
	if s.flow.waits() || s.pulse.silent() < whatsmeow.KeepAliveResponseDeadline {
		return
	}
	s.pulse.faint.Store(true)
	s.state(&hostpb.SessionState{
		State: hostpb.SessionState_DEGRADED, Reason: "keepalive", Counts: map[string]int64{"errors": int64(errorCount)},
	})
}

func (s *session) keepAliveBack() {
	if s.pulse.faint.Swap(false) {
		s.state(&hostpb.SessionState{State: hostpb.SessionState_RESTORED, Reason: "keepalive"})
	}
}

// backlog counts what WhatsApp announced to have kept against what came.
type backlog struct{ announced, came int64 }

// countBacklog runs on the reader's goroutine. Fewer than announced: something may have been missed.
func (s *session) countBacklog(node *waBinary.Node) {
	switch {
	case node.Tag == "message" && attr(node, "offline") != "":
		s.kept.came++
	case node.Tag == "ib":
		for _, child := range node.GetChildren() {
			switch child.Tag {
			case "offline_preview":
				s.kept = backlog{announced: int64(number(attr(&child, "message")))}
			case "offline":
				if kept := s.kept; kept.came < kept.announced {
					s.state(&hostpb.SessionState{
						State: hostpb.SessionState_GAP, Reason: "offline_queue",
						Counts: map[string]int64{"announced": kept.announced, "received": kept.came},
					})
				}
				s.kept = backlog{}
			}
		}
	}
}
