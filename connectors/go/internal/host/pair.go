package host

import (
	"context"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types/events"

	"wharf/connectors/internal/hostpb"
)

// Pairing by QR or by code. Codes run out; then the socket is closed and another Pair is needed. A repeated Pair voids the
// earlier one: new keys, new codes.

const (
	firstCode    = 60 * time.Second // how long a phone accepts the first code
	nextCode     = 20 * time.Second // and each further one
	pairRequests = 20 * time.Second
)

// pairing is the attempt in progress, guarded by session.mu.
type pairing struct {
	attempt int // grows with each Pair; timers of earlier ones do nothing
	active  bool
	live    bool // its own connection is being made or there; the end of an earlier one is not its end
	command string
	phone   string
	timer   *time.Timer
}

// pair starts an attempt.
func (s *session) pair(p *hostpb.Pair) {
	if s.ended.Load() || !s.ready.Load() {
		return
	}
	if s.store.Paired() {
		s.emit(&hostpb.SessionState{State: hostpb.SessionState_PAIR_FAILED, Reason: "already_paired", CommandId: p.CommandId})
		return
	}
	s.mu.Lock()
	if s.pairing.timer != nil {
		s.pairing.timer.Stop()
	}
	s.pairing = pairing{attempt: s.pairing.attempt + 1, active: true, command: p.CommandId, phone: p.Phone}
	attempt := s.pairing.attempt
	s.mu.Unlock()
	go s.startPairing(attempt, p.CommandId)
}

func (s *session) startPairing(attempt int, command string) {
	if !s.host.starts.acquire(s.ctx) {
		return
	}
	defer s.host.starts.release()
	if !s.pairingNow(attempt) {
		return
	}
	// First deaf, then hung up: the end of the old connection must not be taken for the end of this attempt.
	s.client.Load().RemoveEventHandlers()
	s.hangUp()
	if err := s.store.Clear(); err != nil {
		return // the session has ended
	}
	s.mu.Lock()
	s.pairing.live = s.pairing.attempt == attempt
	s.mu.Unlock()
	s.emit(&hostpb.SessionState{State: hostpb.SessionState_PAIRING, CommandId: command})
	if err := s.connect(s.newClient()); err != nil {
		s.pairingFailed(attempt, "connect: "+err.Error())
	}
}

func (s *session) pairingNow(attempt int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pairing.active && s.pairing.attempt == attempt && !s.ended.Load()
}

// gotCodes takes the QR codes of a fresh connection.
func (s *session) gotCodes(evt *events.QR) {
	s.mu.Lock()
	p := s.pairing
	s.mu.Unlock()
	if !p.active || len(evt.Codes) == 0 {
		return
	}
	if p.phone == "" {
		s.showCode(p.attempt, p.command, evt.Codes, 0)
		return
	}
	go s.requestPhoneCode(p)
}

// showCode publishes the code number i and comes back when it has expired.
func (s *session) showCode(attempt int, command string, codes []string, i int) {
	if !s.pairingNow(attempt) {
		return
	}
	if i >= len(codes) {
		s.pairingFailed(attempt, "codes_expired")
		return
	}
	life := nextCode
	if i == 0 {
		life = firstCode
	}
	s.journal.append(nil, s.event(&hostpb.Event{Body: &hostpb.Event_PairingCode{PairingCode: &hostpb.PairingCode{
		QrCodes: codes[i:], ExpiresAtMs: s.host.now().Add(life).UnixMilli(),
		Index: uint32(i + 1), Total: uint32(len(codes)), CommandId: command,
	}}}))
	s.later(attempt, life, func() { s.showCode(attempt, command, codes, i+1) })
}

func (s *session) requestPhoneCode(p pairing) {
	ctx, cancel := context.WithTimeout(s.ctx, pairRequests)
	defer cancel()
	code, err := s.client.Load().PairPhone(ctx, p.phone, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	if err != nil {
		s.pairingFailed(p.attempt, err.Error())
		return
	}
	s.journal.append(nil, s.event(&hostpb.Event{Body: &hostpb.Event_PairingCode{PairingCode: &hostpb.PairingCode{
		Code: code, ExpiresAtMs: s.host.now().Add(s.host.limits.phoneCode).UnixMilli(), Index: 1, Total: 1, CommandId: p.command,
	}}}))
	s.later(p.attempt, s.host.limits.phoneCode, func() { s.pairingFailed(p.attempt, "code_expired") })
}

// later runs fn for this attempt only.
func (s *session) later(attempt int, d time.Duration, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pairing.active && s.pairing.attempt == attempt && !s.ended.Load() {
		s.pairing.timer = time.AfterFunc(d, fn)
	}
}

// endPairing ends an attempt (0: whichever runs) and gives its command.
func (s *session) endPairing(attempt int) (command string, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pairing.active || attempt != 0 && s.pairing.attempt != attempt {
		return "", false
	}
	s.pairing.active = false
	if s.pairing.timer != nil {
		s.pairing.timer.Stop()
	}
	return s.pairing.command, true
}

// pairingDisconnected ends the attempt whose connection it was: the codes ran out, or the network failed.
func (s *session) pairingDisconnected() {
	s.mu.Lock()
	live, attempt := s.pairing.live, s.pairing.attempt
	s.mu.Unlock()
	if live {
		s.pairingFailed(attempt, "disconnected")
	}
}

func (s *session) pairingFailed(attempt int, reason string) {
	command, was := s.endPairing(attempt)
	if !was {
		return
	}
	s.hangUp()
	s.emit(&hostpb.SessionState{State: hostpb.SessionState_PAIR_FAILED, Reason: reason, CommandId: command})
}

// pairSucceeded takes PairSuccess: the device is in the journal; 515 and a new login follow.
func (s *session) pairSucceeded(evt *events.PairSuccess) {
	command, _ := s.endPairing(0)
	s.emit(&hostpb.SessionState{
		State: hostpb.SessionState_PAIRED, Self: identity(s.store, evt.ID, evt.LID), Platform: evt.Platform,
		BusinessName: evt.BusinessName, CommandId: command,
	})
	s.watchPairing()
}

// watchPairing logs in when nothing follows the pairing. Not while frames are held: the one that confirms the pairing may be
// among them, and a login before it left is that of a device that WhatsApp does not know.
func (s *session) watchPairing() {
	time.AfterFunc(s.host.limits.supervision.pairWatchdog, func() {
		s.mu.Lock()
		busy := s.link.busy
		s.mu.Unlock()
		if busy || s.online.Load() || !s.paired() {
			return
		}
		if g := s.gate.Load(); g != nil && g.heldFrames() > 0 {
			s.watchPairing()
			return
		}
		s.log.Warn("no login after pairing, reconnecting")
		s.keepOnline(0)
	})
}

// pairFailed takes PairError: what pairing wrote is taken back.
func (s *session) pairFailed(evt *events.PairError) {
	command, _ := s.endPairing(0)
	if err := s.store.Clear(); err != nil {
		return // the session has ended
	}
	s.emit(&hostpb.SessionState{State: hostpb.SessionState_PAIR_FAILED, Reason: evt.Error.Error(), CommandId: command})
	go s.hangUp()
}

// logout unlinks the device. Its state is left as it is: the connector archives what is committed of it.
func (s *session) logout(l *hostpb.Logout) {
	if s.ended.Load() || !s.ready.Load() {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.host.limits.ackTimeout)
		defer cancel()
		if err := s.client.Load().Logout(ctx); err != nil {
			s.emit(&hostpb.SessionState{State: hostpb.SessionState_FAILED, Reason: "logout: " + err.Error(), CommandId: l.CommandId})
			return
		}
		s.finish(s.event(&hostpb.Event{Body: &hostpb.Event_State{State: &hostpb.SessionState{
			State: hostpb.SessionState_LOGGED_OUT, Reason: "requested", CommandId: l.CommandId,
		}}}), "logged_out", false)
	}()
}
