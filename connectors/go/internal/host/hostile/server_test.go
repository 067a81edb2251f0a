// Package hostile puts sessions of a real host before a WhatsApp that sends whatever it likes.
package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/host"
	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
	"wharf/connectors/internal/sim/wire"
)

const (
	victim    = 1
	bystander = 2
	patience  = 20 * time.Second
)

// whatsApp accepts every login and says what it is told to.
type whatsApp struct {
	identity *wire.Identity
	mu       sync.Mutex
	lines    map[uint64]*line // by device number: the last login
	answer   []waBinary.Node  // what the next queries of the victim are answered with
	asked    atomic.Int64     // queries answered so
	came     chan struct{}    // a token per login and per ack
}

// line is one connection after its login.
type line struct {
	socket net.Conn
	mu     sync.Mutex
	cipher *wire.Cipher
	acks   map[string]bool
	gone   bool
}

func (w *whatsApp) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	socket.SetReadLimit(32 << 20)
	conn := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
	defer conn.Close()
	frames := wire.NewFrameReader(conn)
	cipher, peer, err := wire.Handshake(w.identity, frames, keys.NewKeyPair(), func(b []byte) error {
		_, err := conn.Write(wire.AppendPlain(nil, b))
		return err
	})
	if err != nil {
		return
	}
	l := &line{socket: conn, cipher: cipher, acks: map[string]bool{}}
	device := uint64(peer.Payload.GetDevice())
	w.mu.Lock()
	w.lines[device] = l
	w.mu.Unlock()
	defer func() { l.mu.Lock(); l.gone = true; l.mu.Unlock(); w.poke() }()
	l.node(waBinary.Node{Tag: "success", Attrs: waBinary.Attrs{"t": "1800000000", "lid": lidOf(device)}})
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		payload, err := cipher.Open(frame)
		if err != nil {
			return
		}
		node, err := wire.Decode(payload)
		if err != nil {
			return
		}
		w.heard(device, l, node)
	}
}

func (w *whatsApp) poke() {
	select {
	case w.came <- struct{}{}:
	default:
	}
}

func (w *whatsApp) heard(device uint64, l *line, node *waBinary.Node) {
	id, _ := node.Attrs["id"].(string)
	switch node.Tag {
	case "ack":
		l.mu.Lock()
		l.acks[id] = true
		l.mu.Unlock()
		w.poke()
	case "message":
		l.node(waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{"id": id, "class": "message", "from": node.Attrs["to"]}})
	case "iq":
		reply := waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"id": id, "type": "result", "from": types.ServerJID}}
		w.mu.Lock()
		if device == victim && len(w.answer) > 0 {
			first := w.answer[0]
			w.answer = w.answer[1:]
			w.asked.Add(1)
			reply.Content = first.Content
			for name, value := range first.Attrs {
				if name != "id" {
					reply.Attrs[name] = value
				}
			}
		}
		w.mu.Unlock()
		l.node(reply)
	}
}

func (l *line) node(n waBinary.Node) {
	payload, err := wire.Encode(n)
	if err != nil {
		return // made of fuzzed parts: nothing is said
	}
	l.frame(payload)
}

func (l *line) frame(payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone {
		_, _ = l.socket.Write(l.cipher.Append(nil, payload)) // its end is seen by the reader
	}
}

func lidOf(device uint64) types.JID {
	return types.NewADJID("9000001", types.LIDDomain, uint8(device))
}

// bench is a host with a session that is attacked and one that is not.
type bench struct {
	t        testing.TB
	server   *whatsApp
	conn     net.Conn
	items    map[uint64][]*hostpb.Item
	writing  sync.Mutex
	mu       sync.Mutex
	current  map[uint64]uint64 // device → number of its session
	closed   map[uint64]bool   // sessions that have ended
	numbers  uint64
	finished string // the send that ended last
	barriers int
	torn     int
	ended    chan error
}

type recorder map[string][]byte

func (r recorder) Record(c signalstore.Change, _ bool) {
	if c.Tombstone {
		delete(r, c.Name)
	} else {
		r[c.Name] = c.Value
	}
}

// state is that of a paired device.
func state(t testing.TB, device uint64) []*hostpb.Item {
	t.Helper()
	kept := recorder{}
	s, err := signalstore.New(nil, signalstore.Options{Journal: kept})
	must(t, err)
	d := s.Device()
	jid := types.NewADJID("491700000001", types.WhatsAppDomain, uint8(device))
	d.ID, d.LID, d.PushName = &jid, lidOf(device), "hostile"
	d.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: []byte{1}, AccountSignatureKey: make([]byte, 32), AccountSignature: make([]byte, 64), DeviceSignature: make([]byte, 64),
	}
	must(t, s.PutDevice(t.Context(), d))
	var out []*hostpb.Item
	for name, value := range kept {
		out = append(out, &hostpb.Item{Name: name, Value: value})
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	root := keys.NewKeyPair()
	identity, err := wire.NewIdentity(*root.Priv, time.Now())
	must(t, err)
	b := &bench{
		t: t, items: map[uint64][]*hostpb.Item{}, current: map[uint64]uint64{}, closed: map[uint64]bool{}, ended: make(chan error, 1),
		server: &whatsApp{identity: identity, lines: map[uint64]*line{}, came: make(chan struct{}, 1)},
	}
	listener := httptest.NewServer(b.server)
	t.Cleanup(listener.Close)
	ours, theirs := net.Pipe()
	b.conn = ours
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("HOSTILE_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	h, err := host.New(theirs, host.Config{Log: log})
	must(t, err)
	go func() { b.ended <- h.Run(context.Background()) }()
	t.Cleanup(func() { ours.Close() })
	go b.read()
	public := root.Pub[:]
	b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{
		ProtocolVersion: 1, CreditBytes: 1 << 40, AckTimeoutMs: 300, HandlerLimitMs: 3000,
		Simulator: &hostpb.Simulator{Address: strings.TrimPrefix(listener.URL, "http://"), RootPublicKey: public},
	}}})
	for _, device := range []uint64{victim, bystander} {
		b.items[device] = state(t, device)
		b.open(device)
	}
	return b
}

func (b *bench) tell(m *hostpb.ToHost) {
	data, err := proto.Marshal(m)
	must(b.t, err)
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := b.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)); err != nil {
		b.t.Errorf("the host is gone: %v", err)
	}
}

// read commits everything at once.
func (b *bench) read() {
	for {
		var head [4]byte
		if _, err := io.ReadFull(b.conn, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(b.conn, data); err != nil {
			return
		}
		m := &hostpb.FromHost{}
		if err := proto.Unmarshal(data, m); err != nil {
			b.t.Errorf("from the host: %v", err)
			return
		}
		if e := m.GetEntry(); e != nil {
			b.mu.Lock()
			for _, event := range e.Events {
				if done := event.GetSendFinished(); done != nil {
					b.finished = done.CommandId
				}
			}
			b.mu.Unlock()
			go b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Durable{Durable: &hostpb.Durable{
				Positions: []*hostpb.Position{{Session: e.Session, Position: e.Position}},
			}}})
		}
		if c := m.GetClosed(); c != nil {
			b.mu.Lock()
			b.closed[c.Session] = true
			b.mu.Unlock()
			b.server.poke()
		}
	}
}

// open opens the next session of a device and waits for its login.
func (b *bench) open(device uint64) {
	b.server.mu.Lock()
	before := b.server.lines[device]
	b.server.mu.Unlock()
	b.mu.Lock()
	b.numbers++
	number := b.numbers
	b.current[device] = number
	b.mu.Unlock()
	b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{
		Session: number, InstanceId: fmt.Sprintf("it-%d", device), Simulated: true, Settings: &hostpb.SessionSettings{},
	}}})
	b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_RestoreItems{RestoreItems: &hostpb.RestoreItems{
		Session: number, Items: b.items[device], Last: true,
	}}})
	b.wait("a login", func() bool {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		return b.server.lines[device] != before
	})
}

func (b *bench) wait(what string, ready func() bool) {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ready() {
		select {
		case <-b.server.came:
		case <-time.After(time.Millisecond):
		case err := <-b.ended:
			b.t.Fatalf("the host ended: %v", err)
		case <-deadline.C:
			b.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (b *bench) line(device uint64) *line {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return b.server.lines[device]
}

// serves tells whether a session still handles what comes; false when its connection or the session itself has ended.
func (b *bench) serves(device uint64) (ok bool) {
	b.barriers++
	l, id := b.line(device), "B"+strconv.Itoa(b.barriers)
	l.node(waBinary.Node{Tag: "notification", Attrs: waBinary.Attrs{"id": id, "from": types.ServerJID, "type": "barrier", "t": "1"}})
	b.mu.Lock()
	number := b.current[device]
	b.mu.Unlock()
	b.wait("an answer or an end", func() bool {
		b.mu.Lock()
		closed := b.closed[number]
		b.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		ok = l.acks[id]
		return ok || closed || l.gone
	})
	return ok
}

// after looks at what an attack has left: the victim serves or is opened again, the other one serves in any case.
func (b *bench) after() {
	b.t.Helper()
	if !b.serves(victim) {
		b.torn++
		b.mu.Lock()
		number := b.current[victim]
		b.mu.Unlock()
		b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_CloseSession{CloseSession: &hostpb.CloseSession{Session: number, Reason: "test"}}})
		b.wait("the session's end", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.closed[number] })
		b.open(victim)
	}
	if b.barriers%16 == 0 && !b.serves(bystander) {
		b.t.Fatal("the other session has ended")
	}
}

// say sends one frame.
func (b *bench) say(payload []byte) {
	b.line(victim).frame(payload)
	b.after()
}

// reply makes the host ask (for devices and keys of somebody it never wrote to) and answers with the given nodes.
func (b *bench) reply(payload []byte) {
	node, err := wire.Decode(bytes.Clone(payload))
	if err != nil {
		return
	}
	answers := []waBinary.Node{*node, *node, *node}
	b.server.mu.Lock()
	b.server.answer = answers
	b.server.mu.Unlock()
	b.barriers++
	b.mu.Lock()
	number := b.current[victim]
	b.mu.Unlock()
	before := b.server.asked.Load()
	b.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Send{Send: &hostpb.Send{
		Session: number, CommandId: "c" + strconv.Itoa(b.barriers), MessageId: "3EB0" + strconv.Itoa(b.barriers),
		To: fmt.Sprintf("4917%09d@s.whatsapp.net", b.barriers), Content: &hostpb.OutgoingContent{Type: "text", Text: "x"},
	}}})
	l := b.line(victim)
	command := "c" + strconv.Itoa(b.barriers)
	b.wait("a query", func() bool {
		b.mu.Lock()
		closed := b.closed[number] || b.finished == command
		b.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		return b.server.asked.Load() > before || closed || l.gone
	})
	b.after()
	b.server.mu.Lock()
	b.server.answer = nil
	b.server.mu.Unlock()
}
