package wire

import (
	"bytes"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/util/keys"
)

// Whatever comes in, the answer is a node that can be sent on or refused, or an error; never a panic.
func FuzzDecode(f *testing.F) {
	for _, n := range samples() {
		payload, err := Encode(n)
		must(f, err)
		f.Add(payload)
		f.Add(compress(payload[1:]))
	}
	f.Add([]byte{0, 248, 3, 4, 4, 250, 4, 0})
	f.Add([]byte{0, 248, 2, 4, 249, 255, 255})
	f.Fuzz(func(t *testing.T, payload []byte) {
		node, err := Decode(bytes.Clone(payload))
		if err != nil {
			return
		}
		again, err := Encode(*node)
		if err != nil {
			return
		}
		if _, err = Decode(again); err != nil {
			t.Errorf("%v decodes, but not after encoding: %v", node, err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(append(bytes.Clone(socket.WAConnHeader), 0, 0, 1, 7, 0, 0, 0))
	f.Add([]byte{'E', 'D', 0, 1, 0, 0, 2, 9, 9, 'W', 'A', 6, 3, 0, 0, 2, 1, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames := NewFrameReader(bytes.NewReader(stream))
		if _, err := frames.ReadPrologue(); err != nil {
			return
		}
		total := 0
		for {
			frame, err := frames.Next()
			if err != nil {
				break
			}
			total += len(frame)
		}
		if total > len(stream) {
			t.Errorf("%d bytes of frames from %d bytes", total, len(stream))
		}
	})
}

func FuzzHandshake(f *testing.F) {
	identity, err := NewIdentity(*keys.NewKeyPair().Priv, time.Now())
	must(f, err)
	ephemeral := keys.NewKeyPair()
	f.Add(newInitiator().hello(f), []byte{})
	f.Add(newInitiator().hello(f), bytes.Repeat([]byte{0x22, 0x02, 0x0a, 0x00}, 3))
	f.Fuzz(func(t *testing.T, hello, finish []byte) {
		stream := AppendPlain(AppendPlain(bytes.Clone(socket.WAConnHeader), hello), finish)
		if _, _, err := Handshake(identity, NewFrameReader(bytes.NewReader(stream)), ephemeral, func([]byte) error { return nil }); err == nil {
			t.Error("made-up bytes completed a handshake")
		}
	})
}
