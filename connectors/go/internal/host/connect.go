package host

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waCompanionReg"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/store"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
)

// Dialling, login, reconnects. whatsmeow's own reconnect has no cap and no jitter; ours has both. A reconnect keeps the
// state in memory: what was held for the old connection is dropped, WhatsApp delivers it again, and the ratchet knows it.

const (
	refusedDelay  = time.Minute      // a failure code that a quick retry will not change
	outdatedDelay = 15 * time.Minute // only a new version of this program helps
)

// connection is the state of connecting, guarded by session.mu.
type connection struct {
	busy    bool          // keepOnline runs
	result  chan loginEnd // of the login in progress
	again   bool          // another login is wanted when this one has ended
	delay   time.Duration // not before
	upSince time.Time
	tries   int
}

// loginEnd is how a login ended: err nil is online.
type loginEnd struct {
	err   error
	delay time.Duration // before the next try
}

var (
	errLoginTimeout = errors.New("no login in time")
	errDisconnected = errors.New("disconnected")
)

type transports struct{ socket, media *http.Client }

// withoutDeflate drops the offer of permessage-deflate: its writer costs about 1 MB per connection.
type withoutDeflate struct{ http.RoundTripper }

func (t withoutDeflate) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Sec-WebSocket-Extensions")
	return t.RoundTripper.RoundTrip(r)
}

// transports are the HTTP clients of a session, both through its proxy. The socket's leads through the gate, which lies
// above TLS.
func (s *session) transports() transports {
	direct := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	dial := dialThrough(s.settings.Proxy, direct)
	socket, media := &http.Transport{}, &http.Transport{IdleConnTimeout: 30 * time.Second, DialContext: dial}
	if sim := s.host.simulator; sim != nil {
		socket.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.gated(dial(ctx, network, sim.Address))
		}
		media.TLSClientConfig = &tls.Config{RootCAs: s.host.simulatorCAs}
	} else {
		socket.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.gated(encrypted(ctx, dial, network, addr))
		}
	}
	return transports{&http.Client{Transport: withoutDeflate{socket}}, &http.Client{Transport: media}}
}

// encrypted dials and speaks TLS with the server itself, whatever lies between.
func encrypted(ctx context.Context, dial dialFunc, network, addr string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}})
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // of no use
		return nil, err
	}
	return secured, nil
}

// gated puts the gate on a new connection; the former one is given up.
func (s *session) gated(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	g := newGate(conn, s.journal, s.host.limits.heldBytes, s.overflow, s.flow.reset, s.host.switches.noOutputGate)
	if old := s.gate.Swap(g); old != nil {
		old.drop()
	}
	if s.ended.Load() {
		g.drop()
		return nil, net.ErrClosed
	}
	return g, nil
}

// clientPayload names the device before pairing; whatsmeow has one global name.
func (s *session) clientPayload(c *whatsmeow.Client) func() *waWa6.ClientPayload {
	return func() *waWa6.ClientPayload {
		// Asked for right before the handshake's last message: no node can come before it.
		if g := s.gate.Load(); g != nil {
			g.arrivals.close()
			if !s.host.lease.holds() {
				g.drop() // this would be the login
			}
		}
		payload := c.Store.GetClientPayload()
		if payload.DevicePairingData == nil {
			return payload
		}
		props, ok := proto.Clone(store.DeviceProps).(*waCompanionReg.DeviceProps)
		if !ok {
			return payload
		}
		name := s.settings.DeviceName
		if name == "" {
			name = "wharf"
		}
		props.Os = &name
		props.PlatformType = waCompanionReg.DeviceProps_CHROME.Enum()
		if b, err := proto.Marshal(props); err == nil {
			payload.DevicePairingData.DeviceProps = b
		}
		return payload
	}
}

// keepOnline logs in, again and again until it succeeds or the session ends. One runs at a time; a second call makes the
// running one start over.
func (s *session) keepOnline(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() {
		return
	}
	s.link.delay = max(s.link.delay, delay)
	if s.link.busy {
		s.link.again = true
		return
	}
	s.link.busy = true
	if s.link.tries > 1 && time.Since(s.link.upSince) > s.host.limits.supervision.reconnectMost {
		s.link.tries = 1 // the last connection has lasted; jitter still spreads a herd
	}
	go s.logins()
}

func (s *session) logins() {
	for {
		s.mu.Lock()
		delay := max(s.link.delay, s.host.limits.supervision.backoff(s.link.tries))
		s.link.delay, s.link.again = 0, false
		s.link.tries++
		s.mu.Unlock()
		if !sleep(s.ctx, delay) || !s.host.starts.acquire(s.ctx) {
			return
		}
		end := s.login()
		s.host.starts.release()
		s.mu.Lock()
		if s.ended.Load() || end.err == nil && !s.link.again {
			s.link.busy = false
			s.mu.Unlock()
			return
		}
		s.link.delay = max(s.link.delay, end.delay)
		s.mu.Unlock()
		if end.err != nil {
			s.log.Warn("login failed", "error", end.err)
		}
	}
}

// backoff before the n-th try: none before the first, then doubling, capped, with jitter.
func (v *supervision) backoff(tries int) time.Duration {
	if tries == 0 {
		return 0
	}
	d := min(v.reconnectMost, v.reconnectFirst<<min(tries-1, 10))
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// login makes one connection and waits for its outcome.
func (s *session) login() loginEnd {
	s.hangUp()
	s.pulse.refused.Store(0)
	result := make(chan loginEnd, 1)
	s.mu.Lock()
	s.link.result = result
	s.mu.Unlock()
	s.emit(&hostpb.SessionState{State: hostpb.SessionState_CONNECTING})
	if err := s.connect(s.client.Load()); err != nil {
		s.emit(&hostpb.SessionState{State: hostpb.SessionState_OFFLINE, Reason: "connect: " + err.Error()})
		return loginEnd{err: err}
	}
	t := time.NewTimer(s.host.limits.supervision.login)
	defer t.Stop()
	select {
	case end := <-result:
		return end
	case <-t.C:
		s.emit(s.offlineState(errLoginTimeout.Error()))
		return loginEnd{err: errLoginTimeout}
	case <-s.ctx.Done():
		return loginEnd{err: s.ctx.Err()}
	}
}

// connect makes a connection whose frames are guarded.
func (s *session) connect(c *whatsmeow.Client) error {
	if err := c.ConnectContext(s.ctx); err != nil {
		return err
	}
	return s.guardFrames(c)
}

// loginEnded tells the login in progress how it ended; false when there is none.
func (s *session) loginEnded(end loginEnd) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := s.link.result
	s.link.result = nil
	if end.err == nil {
		s.link.upSince = time.Now()
	}
	if result == nil {
		return false
	}
	result <- end
	return true
}

// hangUp closes the connection: the raw one first, or whatsmeow would wait for the other side's goodbye. It must expect
// that, or it would tell a lost connection, which the next login would take for its own.
func (s *session) hangUp() {
	s.online.Store(false)
	//lint:ignore SA1019 there is no other way to announce it
	s.client.Load().DangerousInternals().ExpectDisconnect()
	if g := s.gate.Swap(nil); g != nil {
		g.drop()
	}
	s.client.Load().Disconnect()
	s.sender.connectionLost()
	s.flow.reset()
	s.inbound.reset()
	s.offlineSync.Store(false)
}

// lostConnection goes on after a connection that was online, or tells the login that it was not meant to be.
func (s *session) lostConnection(end loginEnd) {
	s.online.Store(false)
	s.offlineSync.Store(false)
	s.sender.connectionLost()
	if !s.loginEnded(end) && s.paired() {
		s.keepOnline(end.delay)
	}
}
