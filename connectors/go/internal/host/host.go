package host

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"go.mau.fi/libsignal/logger"
	"go.mau.fi/whatsmeow"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// ProtocolVersion is the version of host.proto spoken here.
const ProtocolVersion = 1

const library = "go.mau.fi/whatsmeow"

// Config of a host process.
type Config struct {
	Log        *slog.Logger
	Now        func() time.Time // nil: time.Now
	AllowCrash bool
	Mutant     string
	Version    string
}

// limits of the host, from Hello.
type limits struct {
	unackedNodes int
	heldBytes    int // frames held on one session's gate
	handler      time.Duration
	ackTimeout   time.Duration
	supervision  supervision
	phoneCode    time.Duration // life of a pairing code for typing: as long as the socket waits
}

const (
	defaultUnacked = 1000
	defaultHandler = 10 * time.Second
	defaultAck     = 10 * time.Second
	defaultPhone   = 160 * time.Second
	defaultStarts  = 32
	heldBytesLimit = 8 << 20
	pendingBudget  = 64 << 20
	statsEvery     = 5 * time.Second
	watchEvery     = time.Second
)

// Host is the process's state.
type Host struct {
	log      *slog.Logger
	now      func() time.Time
	switches *switches
	metrics  *metrics
	link     *link
	limits   limits
	starts   *semaphore
	lease    *lease
	verbose  bool
	version  string
	ctx      context.Context
	cancel   context.CancelFunc
	hello    bool

	simulator    *hostpb.Simulator
	simulatorCAs *x509.CertPool

	mu       sync.Mutex
	sessions map[uint64]*session
	left     map[string][]signalstore.Item // mutant no-teardown: state of closed sessions
}

// New makes a host on its connector's connection.
func New(conn io.ReadWriteCloser, cfg Config) (*Host, error) {
	sw, err := newSwitches(cfg.AllowCrash, cfg.Mutant)
	if err != nil {
		return nil, err
	}
	h := &Host{
		log: cfg.Log, now: cfg.Now, switches: sw, version: cfg.Version,
		limits:   limits{defaultUnacked, heldBytesLimit, defaultHandler, defaultAck, defaultSupervision, defaultPhone},
		starts:   newSemaphore(defaultStarts),
		lease:    newLease(monotonic),
		sessions: make(map[uint64]*session),
		left:     make(map[string][]signalstore.Item),
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.metrics = newMetrics(h)
	h.link = newLink(conn, h.metrics, pendingBudget)
	quiet := logger.Loggable(libsignalLog{h.log})
	logger.Setup(&quiet)
	return h, nil
}

// Run serves the connector until it is gone or ctx ends; then every session's socket is closed.
func (h *Host) Run(ctx context.Context) error {
	defer h.closeAll()
	done := make(chan struct{})
	failed := make(chan error, 2)
	go func() {
		// A connector that hung up may have said something before: how that ends is the reader's to tell.
		if err := h.link.write(done, h.forget); !hungUp(err) {
			failed <- err
		}
	}()
	go func() { failed <- h.link.read(h.take) }()
	stats, watch := time.NewTicker(statsEvery), time.NewTicker(watchEvery)
	defer stats.Stop()
	defer watch.Stop()
	defer close(done)
	for {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		case <-stats.C:
			h.link.tell(&hostpb.FromHost{Body: &hostpb.FromHost_Stats{Stats: h.stats()}})
		case <-watch.C:
			h.watch()
		}
	}
}

// take handles one message of the connector; an error ends the process. Nothing here waits.
func (h *Host) take(m *hostpb.ToHost) error {
	if hello := m.GetHello(); hello != nil {
		if h.hello {
			return errors.New("a second Hello")
		}
		return h.greet(hello)
	}
	if !h.hello {
		return errors.New("before Hello")
	}
	if h.lease.keeps(m) {
		return nil
	}
	switch b := m.Body.(type) {
	case *hostpb.ToHost_OpenSession:
		h.open(b.OpenSession)
	case *hostpb.ToHost_Durable:
		for _, p := range b.Durable.Positions {
			if s := h.session(p.Session); s != nil {
				s.reached(p.Position)
			}
		}
	case *hostpb.ToHost_Credit:
		h.link.addCredit(b.Credit.Bytes)
	case *hostpb.ToHost_Lease:
		for _, waiting := range h.lease.renew(time.Duration(b.Lease.UntilMs) * time.Millisecond) {
			if err := h.take(waiting); err != nil {
				return err
			}
		}
	case *hostpb.ToHost_CrashAt:
		return h.switches.crashAt(b.CrashAt.Point, b.CrashAt.Passage)
	case *hostpb.ToHost_RestoreItems:
		h.with(b.RestoreItems.Session, func(s *session) { s.restore(b.RestoreItems.Items, b.RestoreItems.Last) })
	case *hostpb.ToHost_CloseSession:
		h.with(b.CloseSession.Session, func(s *session) { s.close(b.CloseSession.Reason) })
	case *hostpb.ToHost_Pair:
		h.with(b.Pair.Session, func(s *session) { s.pair(b.Pair) })
	case *hostpb.ToHost_Logout:
		h.with(b.Logout.Session, func(s *session) { s.logout(b.Logout) })
	case *hostpb.ToHost_Send:
		h.with(b.Send.Session, func(s *session) { s.sender.add(b.Send) })
	case *hostpb.ToHost_Mark:
		h.with(b.Mark.Session, func(s *session) { s.sender.add(b.Mark) })
	default:
		return fmt.Errorf("unknown message %T", m.Body)
	}
	return nil
}

func (h *Host) greet(hello *hostpb.Hello) error {
	reply := &hostpb.HelloReply{ProtocolVersion: ProtocolVersion, HostVersion: h.version, LibraryVersion: libraryVersion()}
	if hello.ProtocolVersion != ProtocolVersion {
		reply.Error = fmt.Sprintf("protocol version %d, this host speaks %d", hello.ProtocolVersion, ProtocolVersion)
	}
	if err := h.configure(hello); err != nil {
		reply.Error = err.Error()
	}
	message := &hostpb.FromHost{Body: &hostpb.FromHost_HelloReply{HelloReply: reply}}
	if reply.Error != "" {
		h.link.tellLast(message)
		return errors.New(reply.Error)
	}
	h.link.tell(message)
	h.hello = true
	return nil
}

func (h *Host) configure(hello *hostpb.Hello) error {
	h.lease.asked.Store(hello.Leases)
	if n := hello.MaxUnackedNodes; n != 0 {
		h.limits.unackedNodes = int(n)
	}
	if n := hello.HandlerLimitMs; n != 0 {
		h.limits.handler = time.Duration(n) * time.Millisecond
	}
	if n := hello.AckTimeoutMs; n != 0 {
		h.limits.ackTimeout = time.Duration(n) * time.Millisecond
	}
	if n := hello.PhoneCodeMs; n != 0 {
		h.limits.phoneCode = time.Duration(n) * time.Millisecond
	}
	if n := hello.ParallelStarts; n != 0 {
		h.starts = newSemaphore(int(n))
	}
	if err := h.limits.supervision.take(hello.Supervision); err != nil {
		return err
	}
	h.verbose = hello.Verbose
	h.link.addCredit(hello.CreditBytes)
	sim := hello.Simulator
	if sim == nil {
		return nil
	}
	if len(sim.RootPublicKey) != len(whatsmeow.WACertPubKey) {
		return fmt.Errorf("simulator root key of %d bytes", len(sim.RootPublicKey))
	}
	if sim.Address == "" {
		return errors.New("simulator without an address")
	}
	if sim.TlsCaPem != "" {
		h.simulatorCAs = x509.NewCertPool()
		if !h.simulatorCAs.AppendCertsFromPEM([]byte(sim.TlsCaPem)) {
			return errors.New("simulator authority is no certificate")
		}
	}
	copy(whatsmeow.WACertPubKey[:], sim.RootPublicKey)
	h.simulator = sim
	return nil
}

func (h *Host) session(id uint64) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

// with runs fn for a session; messages for one that has ended are late and dropped.
func (h *Host) with(id uint64, fn func(*session)) {
	if s := h.session(id); s != nil && !s.ended.Load() {
		fn(s)
	}
}

// open starts a session. whatsmeow trusts one root key for the whole process, so a host with a simulator serves simulated
// sessions only, and one without serves none.
func (h *Host) open(o *hostpb.OpenSession) {
	refuse := func(reason string) {
		h.link.tell(&hostpb.FromHost{Body: &hostpb.FromHost_Closed{Closed: &hostpb.SessionClosed{
			Session: o.Session, Reason: reason,
		}}})
	}
	if o.Simulated != (h.simulator != nil) {
		refuse("simulator_only")
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.sessions[o.Session]; ok {
		refuse("session_number_in_use")
		return
	}
	h.sessions[o.Session] = newSession(h, o)
}

func (h *Host) forget(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

func (h *Host) all() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		out = append(out, s)
	}
	return out
}

// watch looks after stuck sessions and the journal that all of them hold.
func (h *Host) watch() {
	now := h.now()
	var pending int64
	sessions := h.all()
	for _, s := range sessions {
		s.watch(now)
		pending += int64(s.journal.pending())
	}
	before := h.link.room()
	h.link.pendingBytes.Store(pending)
	if !before && h.link.room() {
		for _, s := range sessions {
			s.flow.wake()
		}
	}
}

// closeAll closes every session's socket at once: the connector is gone, nothing may leave any more.
func (h *Host) closeAll() {
	sessions := h.all()
	for _, s := range sessions {
		s.journal.kill(true)
		if g := s.gate.Load(); g != nil {
			g.drop()
		}
	}
	h.cancel()
	_ = h.link.conn.Close() // the process ends
	h.log.Info("host ends", "sessions", len(sessions))
}

// leave and takeLeftovers are the mutant no-teardown: a session goes on from what it had in memory.
func (h *Host) leave(instance string, items []signalstore.Item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left[instance] = items
}

func (h *Host) takeLeftovers(instance string) []signalstore.Item {
	h.mu.Lock()
	defer h.mu.Unlock()
	items := h.left[instance]
	delete(h.left, instance)
	return items
}

// libraryVersion is whatsmeow's version in this binary.
func libraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == library {
			return dep.Version
		}
	}
	return ""
}

// semaphore bounds how many sessions log in at once.
type semaphore struct{ slots chan struct{} }

func newSemaphore(n int) *semaphore { return &semaphore{make(chan struct{}, n)} }

func (s *semaphore) acquire(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *semaphore) release() { <-s.slots }

// libsignalLog replaces libsignal's logger, which writes to stdout; its lines name ratchet states, so only the caller is
// kept.
type libsignalLog struct{ log *slog.Logger }

func (l libsignalLog) Debug(string, string) {}
func (l libsignalLog) Info(string, string)  {}
func (l libsignalLog) Warning(caller, _ string) {
	l.log.Debug("libsignal warning", "caller", caller)
}
func (l libsignalLog) Error(caller, _ string) {
	l.log.Debug("libsignal error", "caller", caller)
}
func (l libsignalLog) Configure(string) {}
