package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/wire"
)

const (
	handshakeTime = 20 * time.Second
	// idleTime is three missed keepalives of a client that sends one each 30 s at most.
	idleTime = 3 * time.Minute
	// errorGrace lets a client read a stream error: closing at once races with its handler queue.
	errorGrace = 2 * time.Second
	maxMessage = wire.MaxFrame + 1024
)

// conn is a client's connection. Fields below the line are guarded by the server's lock.
type conn struct {
	srv    *Server
	number uint64
	socket *websocket.Conn
	cancel context.CancelFunc
	out    *outbox
	noise  [32]byte
	idle   *time.Timer
	frozen atomic.Bool // nothing is read any more, though the connection is open

	device    *accounts.Device // set by login
	loginAtMS int64
	pairing   *pairing // set while registering
	available bool     // told its presence
	ended     bool     // told to go; what it still says may be heard, nothing new is sent
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	// Clients carry the origin of the real service, which is not this host.
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		s.Log.Debug("not a websocket", "error", err)
		return
	}
	socket.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(s.stop)
	defer cancel()
	c := &conn{srv: s, socket: socket, cancel: cancel}
	if !s.admit(c) {
		_ = socket.CloseNow()
		return
	}
	defer s.forget(c)
	err = c.run(ctx)
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil && websocket.CloseStatus(err) == -1 {
		s.Log.Debug("connection ended", "conn", c.number, "error", err)
	}
	_ = socket.CloseNow()
}

func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Err() != nil {
		return false
	}
	s.lastConn++
	c.number = s.lastConn
	s.conns[c] = struct{}{}
	s.stats.connections++
	s.done.Add(1)
	return true
}

func (s *Server) forget(c *conn) {
	c.out.close()
	s.mu.Lock()
	delete(s.conns, c)
	s.leave(c)
	s.dropPairing(c)
	s.mu.Unlock()
	s.done.Done()
}

// leave takes a connection out of the online table; the device's stanzas wait in its queue from now on.
func (s *Server) leave(c *conn) {
	if c.device != nil && s.online[c.device] == c {
		delete(s.online, c.device)
		if c.available {
			s.announcePresence(c.device.Account)
		}
	}
}

func (c *conn) run(ctx context.Context) error {
	c.idle = time.AfterFunc(handshakeTime, c.hangUp)
	defer c.idle.Stop()
	frames := wire.NewFrameReader(&messageStream{ctx: ctx, socket: c.socket})
	write := func(frame []byte) error {
		return c.socket.Write(ctx, websocket.MessageBinary, wire.AppendPlain(nil, frame))
	}
	cipher, peer, err := wire.Handshake(c.srv.Identity, frames, c.srv.newEphemeral(), write)
	if err != nil {
		c.srv.count(func(st *stats) { st.refusedHandshakes++ })
		return err
	}
	c.noise = peer.NoiseKey
	c.start(ctx, cipher)
	if err = c.greet(peer.Payload); err != nil {
		return err
	}
	for {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		if c.frozen.Load() {
			<-ctx.Done() // by the idle timer, or the end of the server
			return ctx.Err()
		}
		c.idle.Reset(idleTime)
		payload, err := cipher.Open(frame)
		if err != nil {
			return err
		}
		node, err := wire.Decode(payload)
		if err != nil {
			c.srv.count(func(st *stats) { st.malformed++ })
			return err
		}
		c.handle(node)
	}
}

func (c *conn) start(ctx context.Context, cipher *wire.Cipher) {
	out := newOutbox(cipher, func(data []byte) error { return c.socket.Write(ctx, websocket.MessageBinary, data) }, c.hangUp)
	c.srv.mu.Lock()
	c.out = out
	c.srv.mu.Unlock()
	c.srv.done.Add(1)
	go func() {
		defer c.srv.done.Done()
		out.run()
	}()
}

// hangUp cuts the connection without a word.
func (c *conn) hangUp() { c.cancel() }

// send queues a stanza made here; one that cannot be encoded is a defect, told in the log.
func (c *conn) send(node waBinary.Node) {
	payload, err := wire.Encode(node)
	if err != nil {
		c.srv.Log.Error("stanza not sent", "tag", node.Tag, "error", err)
		return
	}
	c.out.put(payload)
}

// bye ends a connection after a last stanza, leaving the client time to read it.
func (c *conn) bye(last waBinary.Node) {
	if c.ended {
		return
	}
	c.send(last)
	c.ended = true
	c.srv.leave(c)
	time.AfterFunc(errorGrace, c.hangUp)
}

// messageStream joins WebSocket messages into a byte stream.
type messageStream struct {
	ctx     context.Context
	socket  *websocket.Conn
	current io.Reader
}

var errTextMessage = errors.New("text message on a binary connection")

func (m *messageStream) Read(p []byte) (int, error) {
	for {
		if m.current == nil {
			kind, reader, err := m.socket.Reader(m.ctx)
			if err != nil {
				return 0, err
			}
			if kind != websocket.MessageBinary {
				return 0, errTextMessage
			}
			m.current = reader
		}
		n, err := m.current.Read(p)
		if errors.Is(err, io.EOF) {
			m.current, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}
