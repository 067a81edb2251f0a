package server

import (
	"log/slog"
	"testing"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/database"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/wire"
)

// bench is a server with a logged-in client, one that registers, and somebody to write to. Nothing is sent anywhere.
func bench(t testing.TB) (s *Server, loggedIn, registering *conn) {
	t.Helper()
	db, err := database.Open("")
	must(t, err)
	directory, err := accounts.Load(db)
	must(t, err)
	l, err := ledger.Load(db)
	must(t, err)
	identity, err := wire.NewIdentity(*keys.NewKeyPair().Priv, time.Now())
	must(t, err)
	s, err = New(Options{Identity: identity, DB: db, Accounts: directory, Ledger: l, MediaHost: "localhost:1", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	connect := func() *conn {
		c := &conn{srv: s, cancel: func() {}, idle: time.NewTimer(time.Hour)}
		if !s.admit(c) {
			t.Fatal("not admitted")
		}
		c.out = newOutbox(nil, nil, func() {})
		return c
	}
	for _, phone := range []string{"491700000001", "491700000002"} {
		a := directory.Ensure(phone, "")
		dev := directory.AddDevice(a, 1, [32]byte{1}, "")
		directory.SetBundle(dev, &accounts.Bundle{Registration: make([]byte, 4), Identity: make([]byte, 32), SignedID: make([]byte, 3), SignedKey: make([]byte, 32), Signature: make([]byte, 64)})
		directory.AddPreKeys(dev, []accounts.PreKey{{ID: []byte{0, 0, 1}, Key: make([]byte, 32)}})
		c := connect()
		c.device = dev
		s.online[dev] = c
		loggedIn = c
	}
	registering = connect()
	must(t, registering.register())
	return s, loggedIn, registering
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Any stanza, before and after the login, is survived, and a query gets an answer or ends the device.
func FuzzHandle(f *testing.F) {
	other := types.NewJID("491700000001", types.DefaultUserServer)
	device := types.NewADJID("100491700000001", types.LIDDomain, 1)
	enc := waBinary.Node{Tag: "enc", Attrs: waBinary.Attrs{"v": "2", "type": "msg"}, Content: []byte("secret")}
	add := func(n waBinary.Node) {
		payload, err := wire.Encode(n)
		must(f, err)
		f.Add(payload, false)
		f.Add(payload, true)
	}
	for key := range queryHandlers {
		child := waBinary.Node{Tag: key.child, Attrs: waBinary.Attrs{"jid": other, "stage": "companion_hello", "action": "block", "name": "last", "value": "all"},
			Content: []waBinary.Node{
				{Tag: "user", Attrs: waBinary.Attrs{"jid": device}}, {Tag: "skey"}, {Tag: "query", Content: []waBinary.Node{{Tag: "devices"}, {Tag: "lid"}, {Tag: "contact"}}},
				{Tag: "list", Content: []waBinary.Node{{Tag: "user", Attrs: waBinary.Attrs{"jid": other}}}},
			}}
		if child.Tag == "" {
			child.Tag = "list"
		}
		add(waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"xmlns": key.namespace, "type": key.kind, "id": "1"}, Content: []waBinary.Node{child}})
		add(waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"xmlns": key.namespace, "type": key.kind}, Content: []waBinary.Node{{Tag: child.Tag}}})
	}
	add(waBinary.Node{Tag: "message", Attrs: waBinary.Attrs{"to": other, "id": "M1", "type": "text"}, Content: []waBinary.Node{
		{Tag: "participants", Content: []waBinary.Node{{Tag: "to", Attrs: waBinary.Attrs{"jid": device}, Content: []waBinary.Node{enc}}}}}})
	add(waBinary.Node{Tag: "message", Attrs: waBinary.Attrs{"to": device, "id": "M1", "device_fanout": "false"}, Content: []waBinary.Node{enc}})
	add(waBinary.Node{Tag: "receipt", Attrs: waBinary.Attrs{"to": device, "id": "M1", "type": "retry"}, Content: []waBinary.Node{{Tag: "list", Content: []waBinary.Node{{Tag: "item"}}}}})
	add(waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{"to": device, "id": "M1", "class": "message", "error": "500"}})
	add(waBinary.Node{Tag: "presence", Attrs: waBinary.Attrs{"to": other, "type": "subscribe"}})
	add(waBinary.Node{Tag: "chatstate", Attrs: waBinary.Attrs{"to": other}, Content: []waBinary.Node{{Tag: "composing"}}})
	add(waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"type": "result", "id": iqPairSuccess}})
	f.Fuzz(func(t *testing.T, payload []byte, early bool) {
		node, err := wire.Decode(payload)
		if err != nil {
			return
		}
		s, c, registering := bench(t)
		if early {
			c = registering
		}
		before := len(c.out.frames)
		c.handle(node)
		kind := text(node, "type")
		if node.Tag == "iq" && kind != "result" && kind != "error" && len(c.out.frames) == before {
			t.Errorf("no answer to %v", node)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.stats.queries) > maxQueryKinds+1 || len(s.stats.unknown) > maxUnknown {
			t.Error("counters grow without a bound")
		}
	})
}

// A client that does not read is cut off instead of filling the memory.
func TestOutboxIsBounded(t *testing.T) {
	failed := false
	o := newOutbox(nil, nil, func() { failed = true })
	chunk := make([]byte, 1<<20)
	for range maxWaiting >> 20 {
		o.put(chunk)
	}
	if failed {
		t.Fatal("cut off too early")
	}
	o.put(chunk)
	if !failed || len(o.frames) != maxWaiting>>20 {
		t.Errorf("cut off %t, %d frames wait", failed, len(o.frames))
	}
}
