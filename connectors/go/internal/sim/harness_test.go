package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/signalstore"
	"wharf/connectors/internal/sim"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

const (
	ann     = "491700000001"
	bob     = "491700000002"
	company = "491700000009"
	// patience is how long a condition may take to become true.
	patience = 60 * time.Second
)

func start(t *testing.T, data string) *sim.Simulator {
	t.Helper()
	s := open(t, data)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func open(t *testing.T, data string) *sim.Simulator {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := sim.Start(sim.Options{Listen: "127.0.0.1:0", Data: data, Now: time.Now, Log: log})
	check(t, err)
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await waits for a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

var phones atomic.Int64

// nextPhone is a number that no other test uses.
func nextPhone() string { return strconv.FormatInt(491_800_000_000+phones.Add(1), 10) }

// client is a stock whatsmeow client over TCP, as any other program's.
type client struct {
	*whatsmeow.Client
	t      *testing.T
	store  *signalstore.Store
	refuse func(*events.Message) bool // messages that it does not acknowledge

	mu     sync.Mutex
	events []any
}

func newClient(t *testing.T, s *sim.Simulator, st *signalstore.Store) *client {
	t.Helper()
	if st == nil {
		var err error
		st, err = signalstore.New(nil, signalstore.Options{})
		check(t, err)
	}
	c := &client{Client: whatsmeow.NewClient(st.Device(), waLog.Noop), t: t, store: st}
	c.SynchronousAck, c.EnableDecryptedEventBuffer, c.UseRetryMessageStore, c.EnableAutoReconnect = true, true, true, false
	address := s.Info("").WhatsAppAddress
	web := &http.Client{Transport: &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}}
	c.SetWebsocketHTTPClient(web)
	c.SetPreLoginHTTPClient(web)
	c.SetMediaHTTPClient(web)
	c.AddEventHandlerWithSuccessStatus(c.handle)
	t.Cleanup(c.Disconnect)
	return c
}

func (c *client) handle(event any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
	message, ok := event.(*events.Message)
	return !ok || c.refuse == nil || !c.refuse(message)
}

// all is the events of one type so far.
func all[T any](c *client) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []T
	for _, e := range c.events {
		if typed, ok := e.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

func awaitEvent[T any](t *testing.T, c *client) T {
	t.Helper()
	var zero T
	await(t, fmt.Sprintf("an event %T", zero), func() bool { return len(all[T](c)) > 0 })
	return all[T](c)[0]
}

func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = nil
}

// pair links a new client to a phone by QR and waits until it is logged in.
func pair(t *testing.T, s *sim.Simulator, phone string) *client {
	t.Helper()
	c := newClient(t, s, nil)
	check(t, c.Connect())
	qr := awaitEvent[*events.QR](t, c)
	jid, err := s.Server.Scan(t.Context(), phone, qr.Codes[0])
	check(t, err)
	awaitEvent[*events.Connected](t, c)
	if got := c.Store.GetJID(); got != jid {
		t.Fatalf("client is %s, the phone linked %s", got, jid)
	}
	return c
}

// reconnect logs a client in again.
func (c *client) reconnect() {
	c.t.Helper()
	c.Disconnect()
	c.forget()
	check(c.t, c.Connect())
	awaitEvent[*events.Connected](c.t, c)
}

func contact(t *testing.T, s *sim.Simulator, phone string, autoReply bool) *contacts.Contact {
	t.Helper()
	c, err := s.Contacts.Create(t.Context(), phone, "", autoReply)
	check(t, err)
	return c
}

func to(phone string) types.JID { return types.NewJID(phone, types.DefaultUserServer) }

func words(text string) *waE2E.Message { return &waE2E.Message{Conversation: proto.String(text)} }

func (c *client) write(phone, id, text string) error {
	ctx, done := c.store.SendScope(c.t.Context())
	defer done()
	_, err := c.SendMessage(ctx, to(phone), words(text), whatsmeow.SendRequestExtra{ID: id, Timeout: patience})
	return err
}

func say(t *testing.T, c *contacts.Contact, phone, id, text string) {
	t.Helper()
	check(t, c.Send(t.Context(), to(phone), id, words(text)))
}

// got is the ids and texts of the messages a client had, in order.
func (c *client) got() []string {
	var out []string
	for _, m := range all[*events.Message](c) {
		out = append(out, m.Info.ID+" "+m.Message.GetConversation())
	}
	return out
}

func (c *client) awaitMessages(want ...string) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("messages %v", want), func() bool { return len(c.got()) >= len(want) })
	if got := c.got(); strings.Join(got, ",") != strings.Join(want, ",") {
		c.t.Fatalf("got messages %v, want %v", got, want)
	}
}

func received(s *sim.Simulator, phone string, dedupe bool) []ledger.Received {
	return s.Ledger.Received(ledger.Filter{To: phone, Dedupe: dedupe})
}

func awaitReceived(t *testing.T, s *sim.Simulator, phone string, events int) []ledger.Received {
	t.Helper()
	await(t, fmt.Sprintf("%d messages for %s", events, phone), func() bool { return len(received(s, phone, false)) >= events })
	return received(s, phone, false)
}

func fault(t *testing.T, s *sim.Simulator, phone string, change func(*server.Faults)) {
	t.Helper()
	_, err := s.Server.SetFaults(phone, func(f *server.Faults) error { change(f); return nil })
	check(t, err)
}

// queued is how many stanzas wait for a phone's devices.
func queued(t *testing.T, s *sim.Simulator, phone string) int {
	t.Helper()
	v, err := s.Server.Phone(phone)
	check(t, err)
	n := 0
	for _, d := range v.Devices {
		n += d.Queue
	}
	return n
}
