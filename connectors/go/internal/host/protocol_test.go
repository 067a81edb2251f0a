package host

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// The connector's side of the protocol: whatever comes in on it, the host goes on or ends with an error. It never hangs.

const endsWithin = 20 * time.Second

// commands are one of each message.
func commands(t testing.TB) []*hostpb.ToHost {
	t.Helper()
	restore := &hostpb.RestoreItems{Session: 1, Last: true}
	kept := items{}
	s, err := signalstore.New(nil, signalstore.Options{Journal: kept})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Device()
	jid := types.NewADJID("491700000001", types.WhatsAppDomain, 1)
	d.ID = &jid
	if err := s.PutDevice(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := s.PutSession(t.Context(), "1:0", []byte("session")); err != nil {
		t.Fatal(err)
	}
	for name, value := range kept {
		restore.Items = append(restore.Items, &hostpb.Item{Name: name, Value: value})
	}
	restore.Items = append(restore.Items, &hostpb.Item{Name: prefixStanza + "3EB0", Value: []byte{0, 248, 1, 4}})
	return []*hostpb.ToHost{
		{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: 1, InstanceId: "it", Simulated: true, Settings: &hostpb.SessionSettings{Proxy: "socks5://127.0.0.1:1"}}}},
		{Body: &hostpb.ToHost_RestoreItems{RestoreItems: restore}},
		{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: 2, InstanceId: "two", Simulated: true}}},
		{Body: &hostpb.ToHost_RestoreItems{RestoreItems: &hostpb.RestoreItems{Session: 2, Last: true}}},
		{Body: &hostpb.ToHost_Pair{Pair: &hostpb.Pair{Session: 2, CommandId: "p", Phone: "491700000001"}}},
		{Body: &hostpb.ToHost_Send{Send: &hostpb.Send{Session: 1, CommandId: "c", MessageId: "3EB0", To: "1@s.whatsapp.net", Resume: true}}},
		{Body: &hostpb.ToHost_Send{Send: &hostpb.Send{Session: 1, CommandId: "d", MessageId: "3EB1", To: "no address", Content: &hostpb.OutgoingContent{Type: "text", Text: "x"}}}},
		{Body: &hostpb.ToHost_Mark{Mark: &hostpb.Mark{Session: 1, CommandId: "m", Kind: "read", Chat: "1@lid", MessageIds: []string{"a"}}}},
		{Body: &hostpb.ToHost_Durable{Durable: &hostpb.Durable{Positions: []*hostpb.Position{{Session: 1, Position: 1 << 60}}}}},
		{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: 1 << 63}}},
		{Body: &hostpb.ToHost_Lease{Lease: &hostpb.Lease{UntilMs: 1 << 62}}},
		{Body: &hostpb.ToHost_Lease{Lease: &hostpb.Lease{UntilMs: 1}}},
		{Body: &hostpb.ToHost_Logout{Logout: &hostpb.Logout{Session: 1, CommandId: "l"}}},
		{Body: &hostpb.ToHost_CloseSession{CloseSession: &hostpb.CloseSession{Session: 1, Reason: "r"}}},
	}
}

// items is a journal that keeps what it is told.
type items map[string][]byte

func (m items) Record(c signalstore.Change, _ bool) {
	if c.Tombstone {
		delete(m, c.Name)
	} else {
		m[c.Name] = c.Value
	}
}

func stream(t testing.TB, all ...*hostpb.ToHost) (out []byte) {
	t.Helper()
	for _, m := range all {
		var err error
		if out, err = appendFrame(out, m); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func simulatedHello() *hostpb.ToHost {
	return &hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{
		ProtocolVersion: ProtocolVersion, CreditBytes: 1 << 20, Simulator: &hostpb.Simulator{Address: "127.0.0.1:1", RootPublicKey: make([]byte, 32)},
	}}}
}

// attack gives a host some bytes and hangs up.
func attack(t testing.TB, data []byte) error {
	t.Helper()
	ours, theirs := net.Pipe()
	h, err := New(theirs, Config{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Run(t.Context()) }()
	go func() { _, _ = io.Copy(io.Discard, ours) }()
	_ = ours.SetWriteDeadline(time.Now().Add(endsWithin))
	_, _ = ours.Write(data) // a host that has ended reads no further
	ours.Close()
	select {
	case err := <-ended:
		return err
	case <-time.After(endsWithin):
		t.Fatal("the host hangs")
		return nil
	}
}

func TestEveryCommandIsSurvived(t *testing.T) {
	if err := attack(t, stream(t, append([]*hostpb.ToHost{simulatedHello()}, commands(t)...)...)); err != nil {
		t.Error(err)
	}
}

func TestBreachesOfTheProtocolAreNamed(t *testing.T) {
	open := commands(t)[0]
	for what, c := range map[string]struct {
		bytes []byte
		error string
	}{
		"no hello":        {stream(t, open), "before Hello"},
		"two hellos":      {stream(t, simulatedHello(), simulatedHello()), "a second Hello"},
		"nothing said":    {stream(t, simulatedHello(), &hostpb.ToHost{}), "unknown message"},
		"a crash point":   {stream(t, simulatedHello(), &hostpb.ToHost{Body: &hostpb.ToHost_CrashAt{CrashAt: &hostpb.CrashAt{Point: "after_wire"}}}), "crash"},
		"an odd root key": {stream(t, &hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{ProtocolVersion: ProtocolVersion, Simulator: &hostpb.Simulator{Address: "x", RootPublicKey: []byte{1}}}}}), "root key"},
		"a huge frame":    {[]byte{0xff, 0xff, 0xff, 0xff}, "16 MiB"},
		"half a frame":    {stream(t, simulatedHello())[:9], "unexpected EOF"},
		"no message":      {append(stream(t, simulatedHello()), 0, 0, 0, 2, 0xff, 0xff), "malformed frame"},
	} {
		if err := attack(t, c.bytes); err == nil || !strings.Contains(err.Error(), c.error) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestHostileConnector(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	all := commands(t)
	for range 400 {
		data := stream(t, simulatedHello(), all[0], all[1])
		for range 1 + r.IntN(6) {
			data = append(data, stream(t, all[r.IntN(len(all))])...)
		}
		for range r.IntN(4) {
			data[r.IntN(len(data))] = byte(r.Uint32())
		}
		_ = attack(t, data) // it may end with an error or without
	}
}

// Any bytes after a hello, and any message in a frame of its own.
func FuzzToHost(f *testing.F) {
	for _, m := range commands(f) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(stream(f, m, m), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		before := commands(t)[:4]
		all := stream(t, append([]*hostpb.ToHost{simulatedHello()}, before...)...)
		if framed {
			all = append(all, byte(len(data)>>24), byte(len(data)>>16), byte(len(data)>>8), byte(len(data)))
		}
		_ = attack(t, append(all, data...))
	})
}
