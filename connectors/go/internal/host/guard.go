package host

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"

	shape "wharf/connectors/internal/stanza"
)

// What a connection brings ends at most its own session. whatsmeow decodes frames and handles nodes in goroutines of its
// own without a recover, and its decoder trusts its input, so one malformed frame would end the process with all sessions.
//
// It offers no hook in front of either, so two unexported fields are wrapped: the table of node handlers, and the frame
// handler of each connection. The latter exists only once the handshake is over: until it is wrapped the gate holds back
// what comes in.

// Bounds of one stanza from WhatsApp. The largest we ask for list prekeys and devices.
var stanzaLimits = shape.Limits{Bytes: 32 << 20, Nodes: 2_000_000}

type (
	nodeHandler  = func(context.Context, *waBinary.Node)
	frameHandler = func(context.Context, []byte)
)

// private is an unexported field of a struct, settable.
func private(of any, name string) (reflect.Value, error) {
	v := reflect.ValueOf(of).Elem().FieldByName(name)
	if !v.IsValid() {
		return v, fmt.Errorf("whatsmeow's %T has no field %s: the guard must be adapted to this version", of, name)
	}
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem(), nil
}

// guardNodes wraps the handlers of a new client.
func (s *session) guardNodes(c *whatsmeow.Client) error {
	table, err := private(c, "nodeHandlers")
	if err != nil {
		return err
	}
	kind := reflect.TypeFor[nodeHandler]()
	for _, tag := range table.MapKeys() {
		was := table.MapIndex(tag)
		if !was.CanConvert(kind) {
			return fmt.Errorf("whatsmeow's node handlers are %s: the guard must be adapted to this version", was.Type())
		}
		handler, name := was.Convert(kind).Interface().(nodeHandler), tag.String()
		guarded := func(ctx context.Context, node *waBinary.Node) {
			defer s.caught("node " + name)
			handler(ctx, node)
		}
		table.SetMapIndex(tag, reflect.ValueOf(guarded).Convert(was.Type()))
	}
	return nil
}

// guardFrames wraps the frame handler of the connection that was just made; what it holds back comes afterwards.
func (s *session) guardFrames(c *whatsmeow.Client) error {
	g := s.gate.Load()
	if g == nil {
		return errDisconnected
	}
	defer g.arrivals.open()
	socket, err := private(c, "socket")
	if err != nil {
		return err
	}
	if socket.IsNil() {
		return errDisconnected
	}
	field, err := private(socket.Interface(), "onFrame")
	if err != nil {
		return err
	}
	kind := reflect.TypeFor[frameHandler]()
	if !field.CanConvert(kind) {
		return fmt.Errorf("whatsmeow's frame handler is %s: the guard must be adapted to this version", field.Type())
	}
	handler := field.Convert(kind).Interface().(frameHandler)
	field.Set(reflect.ValueOf(s.guarded(handler)).Convert(field.Type()))
	return nil
}

// guarded hands on frames that decode. whatsmeow drops others with a warning, and with them what they held.
func (s *session) guarded(handler frameHandler) frameHandler {
	return func(ctx context.Context, payload []byte) {
		defer s.caught("frame")
		data, err := shape.Open(payload, stanzaLimits)
		if err == nil {
			_, err = waBinary.Unmarshal(data)
		}
		if err != nil {
			// Skipping it would lose what it held: WhatsApp sends again what is not acknowledged.
			s.log.Error("a frame cannot be read", "error", err, "bytes", len(payload))
			s.teardown("frame_malformed", true)
			return
		}
		handler(ctx, append([]byte{0}, data...))
	}
}

// caught ends the session in which something of whatsmeow panicked.
func (s *session) caught(where string) {
	if r := recover(); r != nil {
		s.log.Error("whatsmeow panicked", "where", where, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		s.teardown("panic", true)
	}
}

// arrivals holds back what a connection receives between close and open.
type arrivals struct {
	mu     sync.Mutex
	closed chan struct{} // nil: open
}

func (a *arrivals) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed == nil {
		a.closed = make(chan struct{})
	}
}

func (a *arrivals) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != nil {
		close(a.closed)
		a.closed = nil
	}
}

// pass waits until it is open.
func (a *arrivals) pass() {
	a.mu.Lock()
	closed := a.closed
	a.mu.Unlock()
	if closed != nil {
		<-closed
	}
}
