package host

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// One session: from OpenSession to SessionClosed. It never survives itself: who wants it again opens a new one, with the
// committed items.

// prefixStanza begins the items that hold the bytes of sends whose outcome is open.
const prefixStanza = "x/"

type session struct {
	host     *Host
	id       uint64
	instance string
	settings *hostpb.SessionSettings
	log      *slog.Logger

	journal *journal
	flow    *flow
	inbound inbound
	pulse   pulse
	kept    backlog // of the reader's goroutine
	sender  *sender
	gate    atomic.Pointer[gate]
	store   *signalstore.Store
	client  atomic.Pointer[whatsmeow.Client]
	recent  atomic.Pointer[recent] // of that client

	ctx    context.Context // ends with the session
	cancel context.CancelFunc

	ready        atomic.Bool // store and client are there
	ended        atomic.Bool
	online       atomic.Bool
	offlineSync  atomic.Bool               // between OfflineSyncPreview and OfflineSyncCompleted
	handlerSince atomic.Pointer[time.Time] // nil: no handler of ours runs; keeps the monotonic time, the clock may be set

	mu       sync.Mutex
	restored []signalstore.Item
	started  bool
	link     connection
	pairing  pairing
	closed   *hostpb.SessionClosed // to be told once the journal is drained
	told     bool
}

func newSession(h *Host, open *hostpb.OpenSession) *session {
	s := &session{host: h, id: open.Session, instance: open.InstanceId, settings: open.GetSettings()}
	if s.settings == nil {
		s.settings = &hostpb.SessionSettings{}
	}
	s.log = h.log.With("instance", s.instance, "session", s.id)
	s.journal = newJournal(s.id, func() { h.link.ready(s) })
	s.journal.cutOpen = h.switches.cutOpen
	s.pulse.start = time.Now()
	s.flow = newFlow()
	s.sender = newSender(s)
	s.ctx, s.cancel = context.WithCancel(h.ctx)
	return s
}

// restore takes committed items; with the last ones the session starts.
func (s *session) restore(items []*hostpb.Item, last bool) {
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return
	}
	for _, it := range items {
		if strings.HasPrefix(it.Name, prefixStanza) {
			s.sender.restore(it.Name[len(prefixStanza):], it.Value)
		} else {
			s.restored = append(s.restored, signalstore.Item{Name: it.Name, Value: it.Value})
		}
	}
	if !last {
		s.mu.Unlock()
		return
	}
	s.started = true
	restored := s.restored
	s.restored = nil
	s.mu.Unlock()
	if left := s.host.takeLeftovers(s.instance); left != nil {
		restored = left
	}
	if err := s.start(restored); err != nil {
		s.log.Error("session state cannot be loaded", "error", err)
		s.teardown("state_malformed", false)
	}
}

func (s *session) start(items []signalstore.Item) error {
	st, err := signalstore.New(items, signalstore.Options{
		Journal: s.journal, Now: s.host.now, Decrypted: s.decrypted, Mapping: s.mapped,
		WithoutRatchetLock: s.host.switches.noRatchetLock,
	})
	if err != nil {
		return err
	}
	s.store = st
	s.newClient()
	s.ready.Store(true)
	if st.Paired() {
		s.keepOnline(0)
	} else {
		s.emit(&hostpb.SessionState{State: hostpb.SessionState_UNPAIRED})
	}
	return nil
}

// newClient makes whatsmeow's client over the store; the former one, if any, must be disconnected.
func (s *session) newClient() *whatsmeow.Client {
	c := whatsmeow.NewClient(s.store.Device(), nodeLog{session: s})
	c.SynchronousAck = true
	c.EnableDecryptedEventBuffer = true
	c.UseRetryMessageStore = true
	c.EnableAutoReconnect = false
	c.DisableLoginAutoReconnect = true
	c.AutoTrustIdentity = true
	c.ManualHistorySyncDownload = true
	c.DisableManualHistorySyncReceipt = true
	c.SetMaxParallelRetryReceiptHandling(2)
	c.SetForceActiveDeliveryReceipts(s.settings.ActiveReceipts)
	c.GetClientPayload = s.clientPayload(c)
	c.QRClientType = whatsmeow.PairClientChrome
	transports := s.transports()
	c.SetWebsocketHTTPClient(transports.socket)
	c.SetPreLoginHTTPClient(transports.socket)
	c.SetMediaHTTPClient(transports.media)
	c.AddEventHandlerWithSuccessStatus(s.handle)
	sent, err := recentOf(c)
	if err == nil {
		err = s.guardNodes(c)
	}
	if err != nil {
		s.log.Error("no session without a guard", "error", err)
		s.teardown("unguarded", false)
	}
	s.recent.Store(sent)
	s.client.Store(c)
	return c
}

// paired is safe before the store is there.
func (s *session) paired() bool { return s.ready.Load() && s.store.Paired() }

// emit journals a state.
func (s *session) emit(state *hostpb.SessionState) {
	s.journal.append(nil, s.event(&hostpb.Event{Body: &hostpb.Event_State{State: state}}))
}

// event completes an event with what every one carries.
func (s *session) event(e *hostpb.Event) *hostpb.Event {
	e.ReceivedAtMs = s.host.now().UnixMilli()
	return e
}

// decrypted is told the outcome of each decryption (signalstore.Options.Decrypted).
func (s *session) decrypted(err error) {
	s.inbound.decrypted(isOldCounter(err))
	if err != nil {
		s.journal.close(nil, nil)
	}
}

// teardown ends the session without asking anybody: first the store and the socket, so that nothing of an uncommitted
// state can leave, then the client. It may be called from a handler; it does not wait.
func (s *session) teardown(reason string, mayReopen bool) { s.end(nil, reason, mayReopen, false) }

// finish ends the session with a last event.
func (s *session) finish(event *hostpb.Event, reason string, mayReopen bool) {
	s.end(event, reason, mayReopen, false)
}

// close ends the session at the connector's wish; nothing uncommitted survives.
func (s *session) close(reason string) {
	if s.host.switches.noTeardown && s.ready.Load() {
		s.host.leave(s.instance, s.store.Items())
	}
	s.log.Info("session closed by the connector", "reason", reason)
	s.end(nil, "requested", true, true)
}

func (s *session) end(event *hostpb.Event, reason string, mayReopen, drop bool) {
	if s.ended.Swap(true) {
		return
	}
	if !drop {
		s.log.Warn("session ends", "reason", reason, "may_reopen", mayReopen)
	}
	s.online.Store(false)
	s.cancel()
	complete := func() {
		if s.ready.Load() {
			s.store.Close()
		}
		s.flow.close()
		if g := s.gate.Load(); g != nil {
			g.drop()
		}
	}
	if event == nil {
		s.journal.kill(drop)
		complete()
	}
	go func() {
		if event != nil {
			s.journal.finish(event, s.host.limits.handler)
			complete()
		}
		if c := s.client.Load(); c != nil {
			c.Disconnect()
			c.RemoveEventHandlers()
		}
		s.sender.stop()
		s.mu.Lock()
		s.closed = &hostpb.SessionClosed{Session: s.id, Reason: reason, MayReopen: mayReopen}
		s.mu.Unlock()
		s.host.link.ready(s)
	}()
}

// farewell gives SessionClosed once, when everything before it has been taken from the journal.
func (s *session) farewell() *hostpb.SessionClosed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil || s.told || !s.journal.drained() {
		return nil
	}
	s.told = true
	return s.closed
}

// reached passes on what is durable.
func (s *session) reached(position uint64) {
	s.journal.reached(position)
	s.host.switches.pass("after_durable")
	if g := s.gate.Load(); g != nil {
		g.release()
	}
}

// watch ends a session that is stuck. An open message must never be overtaken by the next one, and at 300 s whatsmeow
// would go on by itself.
func (s *session) watch(now time.Time) {
	if s.ended.Load() || !s.ready.Load() {
		return
	}
	s.checkPulse()
	limit := s.host.limits.handler
	stuck := s.journal.openFor(now)
	if since := s.handlerSince.Load(); since != nil {
		stuck = max(stuck, now.Sub(*since))
	}
	if stuck > limit {
		s.log.Error("a handler is stuck", "for", stuck.String())
		s.teardown("handler_timeout", true)
		return
	}
	if waited := s.inbound.waiting(now); s.online.Load() && waited > stuckStanzas*limit {
		s.log.Error("a received message is not handled", "for", waited.String())
		s.teardown("handler_timeout", true)
	}
}

// stuckStanzas: a message may wait for sends and prekey requests ahead of it, so its limit is a multiple of a handler's.
const stuckStanzas = 6

// overflow ends a session for which too much is held.
func (s *session) overflow() {
	s.log.Error("too many bytes wait for the connector")
	go s.teardown("held_overflow", true)
}

func (s *session) String() string { return fmt.Sprintf("session %d (%s)", s.id, s.instance) }
