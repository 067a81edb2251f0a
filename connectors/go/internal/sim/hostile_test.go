package sim_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/wire"
)

// What connects to the simulator may say anything, before its login and after it; everybody else goes on.
func TestHostileClient(t *testing.T) {
	count, seed := 600, uint64(1)
	if many := os.Getenv("WHARF_FUZZ_INPUTS"); many != "" {
		n, err := strconv.Atoi(many)
		check(t, err)
		count, seed = n, rand.Uint64()
	}
	t.Logf("seed %d", seed)
	s := start(t, "")
	attacker := pair(t, s, ann)
	contact(t, s, bob, false)
	r := rand.New(rand.NewPCG(seed, 1))
	address := s.Info("").WhatsAppAddress
	for i := range count {
		switch i % 3 {
		case 0:
			rawBytes(t, r, address)
		default:
			//lint:ignore SA1019 there is no other way to send any node
			err := attacker.DangerousInternals().SendNode(t.Context(), oddNode(r, 0))
			if err != nil || !attacker.IsLoggedIn() {
				attacker.Disconnect()
				attacker.forget()
				check(t, attacker.Connect())
				await(t, "another login", attacker.IsLoggedIn)
			}
		}
	}
	witness := pair(t, s, company)
	if err := witness.write(bob, "after", "still there"); err != nil {
		t.Error(err)
	}
	t.Logf("%d inputs: the simulator goes on", count)
}

// rawBytes is a connection that breaks the protocol at some place before the login.
func rawBytes(t *testing.T, r *rand.Rand, address string) {
	t.Helper()
	noise := make([]byte, r.IntN(200))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	if r.IntN(4) == 0 {
		conn, err := net.Dial("tcp", address)
		check(t, err)
		_, _ = conn.Write(noise) // it may be cut off at any time
		check(t, conn.Close())
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+address+"/ws/chat", nil)
	check(t, err)
	data := append([]byte{}, socket.WAConnHeader...)
	switch r.IntN(4) {
	case 0:
		data = noise
	case 1:
		data = append(data, noise...)
	case 2:
		data = append(data, wire.AppendPlain(nil, noise)...)
	case 3:
		// A client hello of the right form; then noise instead of its finish.
		hello := append([]byte{0x12, 34, 0x0a, 32}, make([]byte, 32)...)
		_, _ = rand.NewChaCha8([32]byte{byte(r.Uint32())}).Read(hello[4:])
		data = append(append(data, wire.AppendPlain(nil, hello)...), wire.AppendPlain(nil, noise)...)
	}
	_ = conn.Write(ctx, websocket.MessageType(1+r.IntN(2)), data)
	_ = conn.CloseNow()
}

// oddNode is a stanza of a known kind with values that nobody expects.
func oddNode(r *rand.Rand, depth int) waBinary.Node {
	tags := []string{"iq", "message", "receipt", "ack", "presence", "chatstate", "notification", "call", "participants", "to", "enc", "list", "user", "item",
		"usync", "query", "devices", "key", "skey", "registration", "count", "privacy", "link_code_companion_reg", "ping", "active", "w:stats", "media_conn", "x"}
	names := []string{"id", "to", "from", "type", "xmlns", "class", "participant", "jid", "stage", "action", "name", "value", "count", "sid", "mode", "context", "error", "v"}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], r.Uint32())
	values := []any{"", "get", "set", "result", "encrypt", "usync", "w:m", "md", "passive", "urn:xmpp:ping", "text", "retry", "-1", "99999999999999999999", "\xff\xfe", string(id[:]),
		to(bob), types.NewADJID(bob, types.WhatsAppDomain, 7), types.NewJID("", "s.whatsapp.net"), types.NewJID("9", "lid"), types.NewJID("1203", "g.us"), types.ServerJID}
	n := waBinary.Node{Tag: tags[r.IntN(len(tags))], Attrs: waBinary.Attrs{}}
	if depth == 0 {
		n.Tag = tags[r.IntN(8)]
	}
	for range r.IntN(6) {
		n.Attrs[names[r.IntN(len(names))]] = values[r.IntN(len(values))]
	}
	switch r.IntN(4) {
	case 0:
		n.Content = id[:r.IntN(4)]
	case 1, 2:
		if depth < 4 {
			children := make([]waBinary.Node, r.IntN(4))
			for i := range children {
				children[i] = oddNode(r, depth+1)
			}
			n.Content = children
		}
	}
	return n
}
