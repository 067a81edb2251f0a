package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/binary/token"
	"go.mau.fi/whatsmeow/proto/waCert"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// initiator is the client's side, on whatsmeow's own handshake.
type initiator struct {
	noise     *socket.NoiseHandshake
	ephemeral *keys.KeyPair
	static    *keys.KeyPair
}

func newInitiator() *initiator {
	i := &initiator{socket.NewNoiseHandshake(), keys.NewKeyPair(), keys.NewKeyPair()}
	i.noise.Start(socket.NoiseStartPattern, socket.WAConnHeader)
	i.noise.Authenticate(i.ephemeral.Pub[:])
	return i
}

func (i *initiator) hello(t testing.TB) []byte {
	t.Helper()
	return marshal(t, &waWa6.HandshakeMessage{ClientHello: &waWa6.HandshakeMessage_ClientHello{Ephemeral: i.ephemeral.Pub[:]}})
}

// finish checks the server's hello as a client does, and answers it.
func (i *initiator) finish(t *testing.T, reply []byte, root [32]byte, payload *waWa6.ClientPayload) []byte {
	t.Helper()
	var message waWa6.HandshakeMessage
	if err := proto.Unmarshal(reply, &message); err != nil {
		t.Fatal(err)
	}
	hello := message.GetServerHello()
	server := [32]byte(hello.GetEphemeral())
	i.noise.Authenticate(server[:])
	must(t, i.noise.MixSharedSecretIntoKey(*i.ephemeral.Priv, server))
	static, err := i.noise.Decrypt(hello.GetStatic())
	must(t, err)
	must(t, i.noise.MixSharedSecretIntoKey(*i.ephemeral.Priv, [32]byte(static)))
	chain, err := i.noise.Decrypt(hello.GetPayload())
	must(t, err)
	checkChain(t, chain, root, static)
	key := i.noise.Encrypt(i.static.Pub[:])
	must(t, i.noise.MixSharedSecretIntoKey(*i.static.Priv, server))
	return marshal(t, &waWa6.HandshakeMessage{ClientFinish: &waWa6.HandshakeMessage_ClientFinish{Static: key, Payload: i.noise.Encrypt(marshal(t, payload))}})
}

func checkChain(t *testing.T, raw []byte, root [32]byte, static []byte) {
	t.Helper()
	var chain waCert.CertChain
	must(t, proto.Unmarshal(raw, &chain))
	var intermediate, leaf waCert.CertChain_NoiseCertificate_Details
	must(t, proto.Unmarshal(chain.GetIntermediate().GetDetails(), &intermediate))
	must(t, proto.Unmarshal(chain.GetLeaf().GetDetails(), &leaf))
	if !ecc.VerifySignature(ecc.NewDjbECPublicKey(root), chain.GetIntermediate().GetDetails(), [64]byte(chain.GetIntermediate().GetSignature())) {
		t.Error("the root did not sign the intermediate")
	}
	if !ecc.VerifySignature(ecc.NewDjbECPublicKey([32]byte(intermediate.GetKey())), chain.GetLeaf().GetDetails(), [64]byte(chain.GetLeaf().GetSignature())) {
		t.Error("the intermediate did not sign the leaf")
	}
	if leaf.GetIssuerSerial() != intermediate.GetSerial() || !bytes.Equal(leaf.GetKey(), static) {
		t.Error("the leaf does not certify the server's static key")
	}
}

func TestHandshakeGivesBothSidesTheSameKeys(t *testing.T) {
	for name, prologue := range map[string][]byte{
		"plain":               socket.WAConnHeader,
		"with routing header": append([]byte{'E', 'D', 0, 1, 0, 0, 5, 1, 2, 3, 4, 5}, socket.WAConnHeader...),
	} {
		t.Run(name, func(t *testing.T) {
			root := *keys.NewKeyPair().Priv
			identity, err := NewIdentity(root, time.Now())
			must(t, err)
			client := newInitiator()
			toServer, clientOut := io.Pipe()
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				_, _ = clientOut.Write(AppendPlain(prologue, client.hello(t)))
			}()
			send := func(reply []byte) error {
				<-finished
				answer := client.finish(t, reply, identity.RootPublicKey(), &waWa6.ClientPayload{Username: proto.Uint64(4917)})
				go func() { _, _ = clientOut.Write(AppendPlain(nil, answer)) }()
				return nil
			}
			cipher, peer, err := Handshake(identity, NewFrameReader(toServer), keys.NewKeyPair(), send)
			must(t, err)
			if peer.NoiseKey != *client.static.Pub || peer.Payload.GetUsername() != 4917 {
				t.Errorf("peer is %+v", peer)
			}
			frame := cipher.Append(nil, []byte("greetings"))
			if len(frame) != 3+9+16 {
				t.Errorf("frame of %d bytes", len(frame))
			}
		})
	}
}

func TestHandshakeRefuses(t *testing.T) {
	identity, err := NewIdentity(*keys.NewKeyPair().Priv, time.Now())
	must(t, err)
	short := marshal(t, &waWa6.HandshakeMessage{ClientHello: &waWa6.HandshakeMessage_ClientHello{Ephemeral: []byte{1, 2}}})
	zero := marshal(t, &waWa6.HandshakeMessage{ClientHello: &waWa6.HandshakeMessage_ClientHello{Ephemeral: make([]byte, 32)}})
	wrongFinish := marshal(t, &waWa6.HandshakeMessage{ClientFinish: &waWa6.HandshakeMessage_ClientFinish{Static: make([]byte, 48), Payload: make([]byte, 20)}})
	header := socket.WAConnHeader
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"another protocol":       {[]byte("GET / HTTP/1.1"), ErrPrologue},
		"another dictionary":     {[]byte{'W', 'A', 6, token.DictVersion - 1}, ErrPrologue},
		"a huge routing header":  {append([]byte{'E', 'D', 0, 1, 0xff, 0xff, 0xff}, header...), ErrPrologue},
		"no protobuf":            {AppendPlain(header, []byte{0xff, 0xff}), ErrHandshake},
		"a short key":            {AppendPlain(header, short), ErrHandshake},
		"a key of low order":     {AppendPlain(header, zero), ErrHandshake},
		"a finish of other keys": {AppendPlain(AppendPlain(header, newInitiator().hello(t)), wrongFinish), ErrHandshake},
		"an early end":           {header, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			stream := append([]byte{}, c.stream...)
			_, _, err := Handshake(identity, NewFrameReader(bytes.NewReader(stream)), keys.NewKeyPair(), func([]byte) error { return nil })
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	out, err := proto.Marshal(m)
	must(t, err)
	return out
}
